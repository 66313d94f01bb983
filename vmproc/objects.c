#include "vmproc/objects.h"

#include "vmproc/limits.h"

#include <errno.h>
#include <stdlib.h>

static int
compare(const struct object *left, const struct object *right)
{
    return left->id < right->id ? -1 : left->id > right->id;
}

RB_GENERATE_INTERNAL(object_tree, object, link, compare, __attribute__((unused)) static)

static const size_t limit_of[OBJECT_KINDS] = {
    [OBJECT_IO_EVENT] = LIMIT_IO_EVENTS,
    [OBJECT_MEMORY] = LIMIT_MEMORY_SLOTS,
    [OBJECT_IRQ_EVENT] = LIMIT_IRQ_EVENTS,
};

void
objects_init(struct objects *objects)
{
    *objects = (struct objects){ .tree = RB_INITIALIZER(&objects->tree) };
}

struct object *
objects_find(struct objects *objects, uint32_t id)
{
    struct object wanted = { .id = id };

    return RB_FIND(object_tree, &objects->tree, &wanted);
}

int
objects_prepare(struct objects *objects, uint32_t id, enum object_kind kind, struct object **object)
{
    if (objects_find(objects, id) != NULL)
        return -EEXIST;
    if (objects->count[kind] >= limit_of[kind])
        return -ENOSPC;
    *object = calloc(1, sizeof **object);
    if (*object == NULL)
        return -ENOMEM;
    (*object)->id = id;
    (*object)->kind = kind;
    return 0;
}

void
objects_insert(struct objects *objects, struct object *object)
{
    objects->count[object->kind]++;
    RB_INSERT(object_tree, &objects->tree, object);
}

void
objects_discard(struct object *object)
{
    free(object);
}

void
objects_remove(struct objects *objects, struct object *object)
{
    objects->count[object->kind]--;
    RB_REMOVE(object_tree, &objects->tree, object);
    free(object);
}

struct object *
objects_any(struct objects *objects)
{
    return RB_ROOT(&objects->tree);
}
