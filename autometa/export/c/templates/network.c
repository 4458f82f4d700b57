/* @TITLE@
 *
 * @COST@ */
#include "network.h"
#include "@OPS@"
#include "weights.h"

#include <string.h>

/* Where each map stands in the arena: those that are needed at one time do not overlap. */
@PLACES@
void am_features(const uint8_t *picture, @VALUE@ *arena, float *features)
{
@BODY@
}
