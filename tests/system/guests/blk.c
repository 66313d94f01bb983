/*
 * A guest that drives its disk. It says what the disk is, copies its first half to its second, several requests at a time, reads that back,
 * flushes, and asks for what must be refused. With the word "read-only", it tries to write instead.
 */
#include "tests/system/guests/common/disk.h"
#include "tests/system/guests/common/machine.h"

#define PIECE 4096
#define SECTORS (PIECE / SECTOR)
#define AT_ONCE 8
#define UNKNOWN_TYPE 77
/* So that the end of what is written can be seen. */
#define MARK 0x5a

static struct driver disk;
static uint8_t buffer[AT_ONCE][PIECE], other[PIECE] __attribute__((aligned(8)));

static void
say_what_it_is(void)
{
    char id[VIRTIO_BLK_ID_BYTES + 1] = "";

    expect(disk_do(&disk, VIRTIO_BLK_T_GET_ID, 0, id, VIRTIO_BLK_ID_BYTES) == VIRTIO_BLK_S_OK, "no id");
    say("%s of %lu sectors%s\n", id, disk_capacity(&disk),
        (disk.features & VIRTIO_BIT(VIRTIO_BLK_F_RO)) != 0 ? ", read-only" : "");
}

/* Requests may be done in any order. */
static void
transfer(uint32_t type, uint64_t sector)
{
    for (unsigned i = 0; i < AT_ONCE; i++)
        disk_offer(&disk, type, sector + i * SECTORS, buffer[i], PIECE);
    queue_notify(&disk.queue[0]);
    for (unsigned i = 0; i < AT_ONCE; i++)
        disk_wait(&disk);
}

static void
copy_half(void)
{
    uint64_t half = disk_capacity(&disk) / 2;

    expect(half > 0 && half % (AT_ONCE * SECTORS) == 0, "a disk of %lu sectors", disk_capacity(&disk));
    for (uint64_t sector = 0; sector < half; sector += AT_ONCE * SECTORS) {
        transfer(VIRTIO_BLK_T_IN, sector);
        transfer(VIRTIO_BLK_T_OUT, half + sector);
    }
    say("copied\n");
}

/* Of each piece of the second half, that it is what the first half has there. */
static void
read_back(void)
{
    uint64_t half = disk_capacity(&disk) / 2;

    for (uint64_t sector = 0; sector < half; sector += SECTORS) {
        memset(other, MARK, sizeof other);
        expect(disk_do(&disk, VIRTIO_BLK_T_IN, sector, buffer[0], PIECE) == VIRTIO_BLK_S_OK, "sector %lu is not read", sector);
        expect(disk_do(&disk, VIRTIO_BLK_T_IN, half + sector, other, PIECE) == VIRTIO_BLK_S_OK, "sector %lu is not read", half + sector);
        expect(memcmp(buffer[0], other, PIECE) == 0, "sector %lu is not what was written", half + sector);
    }
    say("read back\n");
}

static void
flush(void)
{
    expect((disk.features & VIRTIO_BIT(VIRTIO_BLK_F_FLUSH)) != 0, "it does not flush");
    expect(disk_do(&disk, VIRTIO_BLK_T_FLUSH, 0, NULL, 0) == VIRTIO_BLK_S_OK, "it was not flushed");
    say("flushed\n");
}

static void
refuse(const char *what, uint32_t type, uint64_t sector, uint32_t size, uint8_t expected)
{
    uint8_t status;

    memset(other, MARK, sizeof other);
    status = disk_do(&disk, type, sector, other, size);
    expect(status == expected, "%s: status %u", what, status);
    for (unsigned i = 0; i < PIECE; i++)
        expect(other[i] == MARK, "%s: byte %u was written", what, i);
    say("refused: %s\n", what);
}

/* A place whose bytes are counted past the largest number, too. */
static void
refuse_what_is_beyond(void)
{
    uint64_t end = disk_capacity(&disk);

    refuse("read behind the end", VIRTIO_BLK_T_IN, end, PIECE, VIRTIO_BLK_S_IOERR);
    refuse("write behind the end", VIRTIO_BLK_T_OUT, end, PIECE, VIRTIO_BLK_S_IOERR);
    refuse("read over the end", VIRTIO_BLK_T_IN, end - 1, PIECE, VIRTIO_BLK_S_IOERR);
    refuse("write over the end", VIRTIO_BLK_T_OUT, end - 1, PIECE, VIRTIO_BLK_S_IOERR);
    refuse("write at the last number", VIRTIO_BLK_T_OUT, UINT64_MAX, SECTOR, VIRTIO_BLK_S_IOERR);
    refuse("write where bytes overflow", VIRTIO_BLK_T_OUT, UINT64_MAX / SECTOR + 1, SECTOR, VIRTIO_BLK_S_IOERR);
    refuse("half a sector", VIRTIO_BLK_T_OUT, 0, SECTOR / 2, VIRTIO_BLK_S_IOERR);
    refuse("what nobody knows", UNKNOWN_TYPE, 0, SECTOR, VIRTIO_BLK_S_UNSUPP);
}

void
guest_main(void)
{
    driver_find(&disk, VIRTIO_ID_BLOCK);
    driver_begin(&disk, DISK_FEATURES, 1);
    say_what_it_is();
    if (machine_was_told("read-only")) {
        refuse("write", VIRTIO_BLK_T_OUT, 0, PIECE, VIRTIO_BLK_S_IOERR);
        read_back();
    } else {
        copy_half();
        read_back();
        flush();
        refuse_what_is_beyond();
        read_back();
    }
    driver_check_interrupts(&disk);
    say("done\n");
}
