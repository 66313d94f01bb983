/* A guest that says in which slot its entropy device is, once the slot's interrupt told it of a request. */
#include "tests/system/guests/common/machine.h"
#include "tests/system/guests/common/virtio.h"

#include "plugin/microvm/layout.h"

/* A PC's interrupt controllers: the registers of their masks. */
#define PIC_MASK 0x21
#define SECOND_PIC_MASK 0xa1

static struct driver rng;

void
guest_main(void)
{
    uint8_t byte;
    const struct piece piece = { .at = &byte, .size = sizeof byte, .writable = true };

    driver_find(&rng, VIRTIO_ID_RNG);
    driver_begin(&rng, 0, 1);
    queue_do(&rng.queue[0], &piece, 1);
    driver_check_interrupts(&rng);
    /* No table of the machine's tells of them. */
    expect(port_read(PIC_MASK) == UINT8_MAX && port_read(SECOND_PIC_MASK) == UINT8_MAX, "a PC's interrupt controllers are open");
    say("slot %u\n", (unsigned)((rng.registers - LAYOUT_VIRTIO_START) / LAYOUT_VIRTIO_LENGTH));
}
