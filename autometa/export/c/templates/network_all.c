/* @TITLE@
 *
 * @COST@
 * The backward pass keeps the states between ops and computes again what lies inside an op. */
#include "network.h"
#include "head_start.h"
#include "last_layer.h"
#include "ops.h"
#include "train.h"

/* Where each map of a batch (AT), its gradient (GRAD), and what the backward pass computes again (AGAIN) stand in the
 * arena: what is needed at one time does not overlap. */
@PLACES@
/* Where each parameter stands in the body. */
@PARAMETERS@
/* Sizes of the ops. */
@SIZES_OF_OPS@
void am_forward(autometa *m, int n, @HOW@float *features)
{
    float *arena = m->arena, *body = m->taught.body;
@STILL@@FORWARD@
}

void am_backward(autometa *m, int n, float correction)
{
    float *arena = m->arena, *body = m->taught.body;
    const float *mean = @STATISTICS@mean, *variance = @STATISTICS@variance;
@BACKWARD@
}
