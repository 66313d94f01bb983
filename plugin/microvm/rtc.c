#include "plugin/microvm/rtc.h"

#include <stdbool.h>

enum {
    RTC_SECONDS = 0x00,
    RTC_MINUTES = 0x02,
    RTC_HOURS = 0x04,
    RTC_WEEKDAY = 0x06,
    RTC_DAY = 0x07,
    RTC_MONTH = 0x08,
    RTC_YEAR = 0x09,
    RTC_STATUS_A = 0x0a,
    RTC_STATUS_B = 0x0b,
    RTC_STATUS_C = 0x0c,
    RTC_STATUS_D = 0x0d,
    RTC_CENTURY = 0x32,
};
#define STATUS_A_DIVIDER 0x26 /* 32,768 Hz; never being updated */
#define STATUS_B_24_HOURS 0x02
#define STATUS_B_BINARY 0x04
#define STATUS_D_VALID 0x80
#define SECONDS_OF_A_DAY 86400
#define THURSDAY 4 /* the first of January 1970 */

void
rtc_init(struct rtc *rtc, time_t (*now)(void))
{
    *rtc = (struct rtc){ .lock = PTHREAD_MUTEX_INITIALIZER, .now = now };
    rtc->bytes[RTC_STATUS_A] = STATUS_A_DIVIDER;
    rtc->bytes[RTC_STATUS_B] = STATUS_B_24_HOURS;
    rtc->bytes[RTC_STATUS_D] = STATUS_D_VALID;
}

static bool
is_leap_year(int year)
{
    return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
}

/* gmtime_r(3) reads the host's time zone first, from a file, and there are none here. */
void
rtc_split_time(time_t now, struct tm *time)
{
    static const int month_days[] = { 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31 };
    const int seconds = (int)(now % SECONDS_OF_A_DAY);
    int year = 1970, month = 0, days = (int)(now / SECONDS_OF_A_DAY), length;

    *time = (struct tm){ .tm_sec = seconds % 60, .tm_min = seconds / 60 % 60, .tm_hour = seconds / 3600 };
    time->tm_wday = (days + THURSDAY) % 7;
    for (; days >= (length = is_leap_year(year) ? 366 : 365); year++)
        days -= length;
    for (; days >= (length = month_days[month] + (month == 1 && is_leap_year(year) ? 1 : 0)); month++)
        days -= length;
    time->tm_mday = days + 1;
    time->tm_mon = month;
    time->tm_year = year - 1900;
}

/* As the guest wants numbers: in binary, or two decimal digits. */
static uint8_t
number(const struct rtc *rtc, int value)
{
    if ((rtc->bytes[RTC_STATUS_B] & STATUS_B_BINARY) != 0)
        return (uint8_t)value;
    return (uint8_t)(value / 10 << 4 | value % 10);
}

/* With 12 hours, noon and midnight are 12, and the highest bit says afternoon. */
static uint8_t
hours(const struct rtc *rtc, int hour)
{
    if ((rtc->bytes[RTC_STATUS_B] & STATUS_B_24_HOURS) != 0)
        return number(rtc, hour);
    return (uint8_t)(number(rtc, (hour + 11) % 12 + 1) | (hour >= 12 ? 0x80 : 0));
}

static uint8_t
read_byte(const struct rtc *rtc)
{
    struct tm time;

    rtc_split_time(rtc->now(), &time);
    switch (rtc->index) {
    case RTC_SECONDS:
        return number(rtc, time.tm_sec);
    case RTC_MINUTES:
        return number(rtc, time.tm_min);
    case RTC_HOURS:
        return hours(rtc, time.tm_hour);
    case RTC_WEEKDAY:
        return number(rtc, time.tm_wday + 1);
    case RTC_DAY:
        return number(rtc, time.tm_mday);
    case RTC_MONTH:
        return number(rtc, time.tm_mon + 1);
    case RTC_YEAR:
        return number(rtc, time.tm_year % 100);
    case RTC_CENTURY:
        return number(rtc, (time.tm_year + 1900) / 100);
    default:
        return rtc->bytes[rtc->index];
    }
}

static bool
is_writable(uint8_t index)
{
    return index != RTC_STATUS_A && index != RTC_STATUS_C && index != RTC_STATUS_D;
}

static void
rtc_read(void *device, uint64_t offset, uint8_t *data, size_t size)
{
    struct rtc *rtc = device;
    uint8_t byte;

    pthread_mutex_lock(&rtc->lock);
    byte = offset == 1 ? read_byte(rtc) : rtc->index;
    pthread_mutex_unlock(&rtc->lock);
    for (size_t i = 0; i < size; i++)
        data[i] = byte;
}

/* The index port's highest bit masks the NMI on a PC; there is none here. */
static void
rtc_write(void *device, uint64_t offset, const uint8_t *data, size_t size)
{
    struct rtc *rtc = device;

    pthread_mutex_lock(&rtc->lock);
    if (offset == 0)
        rtc->index = data[size - 1] % RTC_BYTES;
    else if (is_writable(rtc->index))
        rtc->bytes[rtc->index] = data[size - 1];
    pthread_mutex_unlock(&rtc->lock);
}

const struct device_operations rtc_operations = { rtc_read, rtc_write };
