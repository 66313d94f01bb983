/* Create and Destroy: what all kinds of objects have in common. */
#include "vmproc/mutant.h"
#include "vmproc/request.h"

#include <errno.h>

struct kind {
    MainRequest__Create__ObjectCase request;
    create_handler *create;
    const char *name; /* of `create` */
    void (*destroy)(struct vm *vm, struct object *object);
};

#define CREATE(function) .create = function, .name = #function

static const struct kind kinds[OBJECT_KINDS] = {
    [OBJECT_IO_EVENT] = { .request = MAIN_REQUEST__CREATE__OBJECT_IO_EVENT,
                          CREATE(io_event_create),
                          .destroy = io_event_destroy },
    [OBJECT_MEMORY] = { .request = MAIN_REQUEST__CREATE__OBJECT_MEMORY,
                        CREATE(memory_create),
                        .destroy = memory_destroy },
    [OBJECT_IRQ_EVENT] = { .request = MAIN_REQUEST__CREATE__OBJECT_IRQ_EVENT,
                           CREATE(irq_event_create),
                           .destroy = irq_event_destroy },
};

int
object_create(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    const MainRequest__Create *create = request->message->create;
    struct object *object;
    int kind, result;

    for (kind = 0; kind < OBJECT_KINDS; kind++)
        if (kinds[kind].request == create->object_case)
            break;
    if (kind == OBJECT_KINDS)
        return -ENOTTY;
    if (mutant_is(kinds[kind].name))
        return 0;
    result = objects_prepare(&vm->objects, create->id, (enum object_kind)kind, &object);
    if (result < 0)
        return result;
    result = kinds[kind].create(vm, request, object, reply);
    if (result < 0)
        objects_discard(object);
    else
        objects_insert(&vm->objects, object);
    return result;
}

void
object_destroy(struct vm *vm, struct object *object)
{
    kinds[object->kind].destroy(vm, object);
    objects_remove(&vm->objects, object);
}

int
object_destroy_by_id(struct vm *vm, const struct main_request *request, struct reply *reply)
{
    struct object *object = objects_find(&vm->objects, request->message->destroy->id);

    (void)reply;
    if (object == NULL)
        return -ENOENT;
    object_destroy(vm, object);
    return 0;
}
