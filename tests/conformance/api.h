/*
 * Which header a case is built against; the build turns this into <vmsup-plugin.h> for the programs in our own names.
 */
#ifndef VMSUP_TESTS_CONFORMANCE_API_H
#define VMSUP_TESTS_CONFORMANCE_API_H

#include <crosvm.h>

#endif
