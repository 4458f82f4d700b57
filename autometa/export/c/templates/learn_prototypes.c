/* Learning by prototypes: a class is the mean of its pictures' features, the nearest one answers. */
#include "learner.h"
#include "network.h"
#include "ops.h"

int autometa_teach(autometa *m, const uint8_t *picture, int label)
{
    if (!m || !picture)
        return AUTOMETA_NO_POINTER;
    if (!am_is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    if (m->taught.pictures[label] >= AUTOMETA_MOST_PICTURES)
        return AUTOMETA_FULL;
    am_features(picture, m->arena, m->features);
    if (!am_finite(m->features, AUTOMETA_FEATURES))
        return AUTOMETA_NOT_FINITE;
    am_scaled(m->features, AUTOMETA_FEATURES, 1.0f, 1, m->taught.sum[label]);
    m->taught.pictures[label]++;
    m->taught.learned = 0;
    return AUTOMETA_OK;
}

int autometa_forget_class(autometa *m, int label)
{
    if (!m)
        return AUTOMETA_NO_POINTER;
    if (!am_is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    m->taught.used[label] = 0;
    m->taught.learned = 0;
    m->taught.pictures[label] = 0;
    am_zero(m->taught.sum[label], AUTOMETA_FEATURES);
    return AUTOMETA_OK;
}

int autometa_learn(autometa *m)
{
    int labels[AUTOMETA_CLASSES], ways;
    if (!m)
        return AUTOMETA_NO_POINTER;
    ways = am_classes(m, labels);
    for (int i = 0; i < ways; i++)
        if (!m->taught.pictures[labels[i]])
            return AUTOMETA_NOT_TAUGHT;
    m->taught.learned = ways >= 2;
    return ways < 2 ? AUTOMETA_NOT_TAUGHT : AUTOMETA_OK;
}

int autometa_predict(autometa *m, const uint8_t *picture, float *probabilities)
{
    int labels[AUTOMETA_CLASSES], ways;
    float scores[AUTOMETA_CLASSES];
    if (!m || !picture)
        return AUTOMETA_NO_POINTER;
    if (!m->taught.learned)
        return AUTOMETA_NOT_LEARNED;
    am_features(picture, m->arena, m->features);
    ways = am_classes(m, labels);
    for (int i = 0; i < ways; i++) {
        const float *sum = m->taught.sum[labels[i]];
        const float count = (float)m->taught.pictures[labels[i]];
        float distance = 0.0f;
        for (int f = 0; f < AUTOMETA_FEATURES; f++) {
            const float apart = m->features[f] - sum[f] / count;
            distance += apart * apart;
        }
        scores[i] = -distance;
    }
    return am_answer(scores, labels, ways, probabilities);
}

int am_taught_is_sound(const autometa *m)
{
    for (int k = 0; k < AUTOMETA_CLASSES; k++) {
        if (m->taught.pictures[k] > (m->taught.used[k] ? AUTOMETA_MOST_PICTURES : 0u))
            return 0;
        if (m->taught.learned && m->taught.used[k] && !m->taught.pictures[k])
            return 0;
        if (!am_finite(m->taught.sum[k], AUTOMETA_FEATURES))
            return 0;
    }
    return 1;
}
