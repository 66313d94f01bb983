#include "plugin/microvm/options.h"

#include "common/log.h"
#include "plugin/microvm/ram.h"

#include <errno.h>
#include <getopt.h>
#include <string.h>

int
options_parse_size(const char *text, uint64_t *size)
{
    static const char units[] = "KMG";
    const char *unit;
    uint64_t value = 0;

    if (*text < '0' || *text > '9')
        return -EINVAL;
    for (; *text >= '0' && *text <= '9'; text++)
        if (__builtin_mul_overflow(value, UINT64_C(10), &value) || __builtin_add_overflow(value, (uint64_t)(*text - '0'), &value))
            return -EINVAL;
    if (*text != '\0') {
        unit = strchr(units, *text++);
        if (unit == NULL || *text != '\0' || __builtin_mul_overflow(value, UINT64_C(1024) << (10 * (unit - units)), &value))
            return -EINVAL;
    }
    *size = value;
    return 0;
}

static int
set_memory(const char *text, struct options *options)
{
    if (options_parse_size(text, &options->memory) == 0 && options->memory >= OPTIONS_MEMORY_MIN &&
        options->memory <= OPTIONS_MEMORY_MAX && options->memory % LAYOUT_PAGE == 0)
        return 0;
    log_error("--memory: %s is not a whole number of 4K pages from 32M to 1024G", text);
    return -EINVAL;
}

static int
add_disk(char *text, struct options *options)
{
    int result;

    if (options->disk_count == OPTIONS_DISKS_MAX) {
        log_error("--disk: %s is one more than the %d that there may be", text, OPTIONS_DISKS_MAX);
        return -EINVAL;
    }
    result = options_parse_disk(text, &options->disk[options->disk_count]);
    if (result == 0)
        options->disk_count++;
    return result;
}

/* Of several, between commas. */
static int
add_cpu_masks(char *text, struct options *options)
{
    for (char *mask = strsep(&text, ","); mask != NULL; mask = strsep(&text, ",")) {
        if (options->cpu_mask_count == CPUID_MASKS_MAX) {
            log_error("--cpu-mask: %s is one more than the %d that there may be", mask, CPUID_MASKS_MAX);
            return -EINVAL;
        }
        if (cpuid_mask_parse(mask, &options->cpu_mask[options->cpu_mask_count++]) < 0) {
            log_error("--cpu-mask: %s is neither a feature's name nor LEAF[.SUBLEAF]:REGISTER=BITS", mask);
            return -EINVAL;
        }
    }
    return 0;
}

/* What several options have to do with each other. */
static int
check_together(const struct options *options)
{
    const size_t slots = options->disk_count + options->net.present + (options->vsock_cid != 0) + options->console + options->balloon +
                         1; /* the entropy device */

    if (options->huge_pages && options->memory % RAM_HUGE_PAGE != 0) {
        log_error("--huge-pages: the memory's size is not a whole number of pages of 2M");
        return -EINVAL;
    }
    if (options->huge_pages && options->balloon) {
        log_error("--balloon: memory of --huge-pages is set aside for good, and none of it could be given back");
        return -EINVAL;
    }
    if (slots > LAYOUT_VIRTIO_SLOTS) {
        log_error("--disk: with the other devices, %zu disks are more than the %zu that there may be", options->disk_count,
                  options->disk_count - (slots - LAYOUT_VIRTIO_SLOTS));
        return -EINVAL;
    }
    return 0;
}

/* The kernel's console is where input comes from. */
static void
choose_command_line(struct options *options)
{
    if (options->command_line == NULL)
        options->command_line = options->console ? "console=hvc0" : "console=ttyS0";
}

int
options_parse(int argc, char **argv, struct options *options)
{
    static const struct option known[] = {
        { "memory", required_argument, NULL, 'm' }, { "cmdline", required_argument, NULL, 'c' },
        { "disk", required_argument, NULL, 'd' },   { "net", optional_argument, NULL, 'n' },
        { "huge-pages", no_argument, NULL, 'H' },   { "cpu-mask", required_argument, NULL, 'p' },
        { "vsock", required_argument, NULL, 'v' },  { "console", no_argument, NULL, 'C' },
        { "balloon", no_argument, NULL, 'b' },      { 0 },
    };
    int option, result = 0;

    *options = (struct options){ .memory = OPTIONS_MEMORY_DEFAULT };
    optind = 0;
    opterr = 0;
    while (result == 0 && (option = getopt_long(argc, argv, "+:", known, NULL)) != -1) {
        switch (option) {
        case 'm':
            result = set_memory(optarg, options);
            break;
        case 'c':
            options->command_line = optarg;
            break;
        case 'd':
            result = add_disk(optarg, options);
            break;
        case 'n':
            result = options_parse_net(optarg, &options->net);
            break;
        case 'v':
            result = options_parse_vsock(optarg, &options->vsock_cid);
            break;
        case 'C':
            options->console = true;
            break;
        case 'b':
            options->balloon = true;
            break;
        case 'H':
            options->huge_pages = true;
            break;
        case 'p':
            result = add_cpu_masks(optarg, options);
            break;
        default:
            log_error("%s: %s", argv[optind - 1], option == ':' ? "a value is missing" : "no option of microvm's");
            result = -EINVAL;
            break;
        }
    }
    if (result == 0 && optind < argc) {
        log_error("%s: microvm takes options only", argv[optind]);
        result = -EINVAL;
    }
    choose_command_line(options);
    return result < 0 ? result : check_together(options);
}
