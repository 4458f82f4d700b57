/* Learning by prototypes: a class is the mean of its pictures' features, the nearest one answers. */
#include "learner.h"
#include "network.h"
#include "ops.h"

int am_look(autometa *m, const uint8_t *picture, int label)
{
    if (m->taught.pictures[label] >= AUTOMETA_MOST_PICTURES)
        return AUTOMETA_FULL;
    am_features(picture, m->arena, m->features);
    if (!am_finite(m->features, AUTOMETA_FEATURES))
        return AUTOMETA_NOT_FINITE;
    am_scaled(m->features, AUTOMETA_FEATURES, 1.0f, 1, m->taught.sum[label]);
    m->taught.pictures[label]++;
    return AUTOMETA_OK;
}

int am_pictures_of(const autometa *m, int label)
{
    return (int)m->taught.pictures[label];
}

void am_drop(autometa *m, int label)
{
    m->taught.pictures[label] = 0;
    am_zero(m->taught.sum[label], AUTOMETA_FEATURES);
}

int am_learn(autometa *m, const int *labels, int ways)
{
    for (int i = 0; i < ways; i++)
        if (!am_finite(m->taught.sum[labels[i]], AUTOMETA_FEATURES))
            return AUTOMETA_NOT_FINITE;
    return AUTOMETA_OK;
}

void am_scores(autometa *m, const uint8_t *picture, const int *labels, int ways, float *scores)
{
    am_features(picture, m->arena, m->features);
    for (int i = 0; i < ways; i++) {
        const float *sum = m->taught.sum[labels[i]];
        const float count = (float)m->taught.pictures[labels[i]];
        float distance = 0.0f;
        for (int f = 0; f < AUTOMETA_FEATURES; f++) {
            const float apart = m->features[f] - sum[f] / count;
            distance += apart * apart;
        }
        scores[i] = -@DISTANCE_SCALE@ * distance;
    }
}

int am_taught_is_sound(const autometa *m)
{
    for (int k = 0; k < AUTOMETA_CLASSES; k++) {
        if (m->taught.pictures[k] > (m->taught.used[k] ? AUTOMETA_MOST_PICTURES : 0u))
            return 0;
        if (!am_finite(m->taught.sum[k], AUTOMETA_FEATURES))
            return 0;
    }
    return 1;
}
