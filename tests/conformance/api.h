/* Which header a case is built against; the build turns this into <vmsup-plugin.h> for the programs in our own names. */
#include <crosvm.h>
