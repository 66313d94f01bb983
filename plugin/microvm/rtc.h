/*
 * The PC's clock and its battery-backed bytes (MC146818), at an index and a data port. The time is the host's, in UTC: what the guest
 * writes to the time's registers is dropped. There are no alarms and no interrupt. Owned by the caller; takes its own lock.
 */
#ifndef VMSUP_PLUGIN_MICROVM_RTC_H
#define VMSUP_PLUGIN_MICROVM_RTC_H

#include "plugin/microvm/bus.h"

#include <pthread.h>
#include <time.h>

#define RTC_BYTES 128

struct rtc {
    pthread_mutex_t lock;
    time_t (*now)(void);
    uint8_t index;
    uint8_t bytes[RTC_BYTES]; /* those that are not computed */
};

/* `now` says the time in seconds since 1970. */
void rtc_init(struct rtc *rtc, time_t (*now)(void));

/* For a bus; `device` is the struct rtc. */
extern const struct device_operations rtc_operations;

/* UTC, of a time that is not before 1970: tm_sec to tm_year and tm_wday. Looks at nothing else. */
void rtc_split_time(time_t now, struct tm *time);

#endif
