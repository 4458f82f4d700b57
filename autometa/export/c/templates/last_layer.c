/* The last layer, and the step of every gradient, see last_layer.h. */
#include "last_layer.h"
#include "head_start.h"
#include "learner.h"
#include "ops.h"

#include <math.h>

void am_scores_of(const autometa *m, const float *features, const int *labels, int ways, float *scores)
{
    for (int i = 0; i < ways; i++) {
        const float *row = m->taught.weight[labels[i]];
        scores[i] = am_dot(features, row, AUTOMETA_FEATURES) + row[AUTOMETA_FEATURES];
    }
}

void am_begin_last_layer(autometa *m, const int *labels, int ways)
{
    for (int i = 0; i < ways; i++) {
        const int row = i < AM_HEAD_ROWS ? i : AM_HEAD_ROWS;
        am_copy(am_head_start[row], AUTOMETA_FEATURES + 1, m->taught.weight[labels[i]]);
        am_copy(am_head_second[row], AUTOMETA_FEATURES + 1, m->second_head[i]);
    }
}

int am_last_layer_is_finite(const autometa *m, const int *labels, int ways)
{
    for (int i = 0; i < ways; i++)
        if (!am_finite(m->taught.weight[labels[i]], AUTOMETA_FEATURES + 1))
            return 0;
    return 1;
}

float am_correction(int number)
{
    return AM_ADAM ? (float)(1.0 / (1.0 - pow(AM_BETA2, (double)(AM_STEPS_BEFORE + number)))) : 1.0f;
}

void am_step(float *values, float *second, const float *grad, int size, float correction)
{
    for (int i = 0; i < size; i++) {
        const float slope = grad[i] + AM_DECAY * values[i];
        if (!AM_ADAM) {
            values[i] -= AM_RATE * slope;
            continue;
        }
        second[i] = second[i] * (float)AM_BETA2 + slope * slope * (float)(1.0 - AM_BETA2);
        values[i] -= AM_RATE * slope / (sqrtf(second[i] * correction) + AM_EPS);
    }
}
