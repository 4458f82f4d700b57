/* Learning by head: features of the taught pictures are kept, gradient steps change the last layer alone.
 *
 * The loss is the cross-entropy, the mean over classes of the means over pictures. */
#include "head_start.h"
#include "last_layer.h"
#include "learner.h"
#include "network.h"
#include "ops.h"

int am_look(autometa *m, const uint8_t *picture, int label)
{
    const uint32_t n = m->taught.pictures;
    if (n >= AUTOMETA_PICTURES)
        return AUTOMETA_FULL;
    am_features(picture, m->arena, m->taught.features[n]);
    if (!am_finite(m->taught.features[n], AUTOMETA_FEATURES))
        return AUTOMETA_NOT_FINITE;
    m->taught.label[n] = (uint32_t)label;
    m->taught.pictures = n + 1;
    return AUTOMETA_OK;
}

int am_pictures_of(const autometa *m, int label)
{
    int count = 0;
    for (uint32_t n = 0; n < m->taught.pictures; n++)
        count += (int)m->taught.label[n] == label;
    return count;
}

void am_drop(autometa *m, int label)
{
    uint32_t kept = 0;
    for (uint32_t n = 0; n < m->taught.pictures; n++)
        if (m->taught.label[n] != (uint32_t)label) {
            m->taught.label[kept] = m->taught.label[n];
            am_copy(m->taught.features[n], AUTOMETA_FEATURES, m->taught.features[kept]);
            kept++;
        }
    m->taught.pictures = kept;
}

static void step(autometa *m, const int *labels, int ways, const int *count, float correction)
{
    const uint32_t pictures = m->taught.pictures;
    for (uint32_t n = 0; n < pictures; n++) {
        float *wrong = m->wrong[n];
        am_scores_of(m, m->taught.features[n], labels, ways, wrong);
        am_softmax(wrong, ways);
        for (int i = 0; i < ways; i++)
            if (labels[i] == (int)m->taught.label[n]) {
                wrong[i] -= 1.0f;
                am_scaled(wrong, ways, 1.0f / (float)(ways * count[i]), 0, wrong);
                break;
            }
    }
    for (int i = 0; i < ways; i++)
        for (int f = 0; f <= AUTOMETA_FEATURES; f++) {
            float grad = 0.0f;
            for (uint32_t n = 0; n < pictures; n++)
                grad += m->wrong[n][i] * (f < AUTOMETA_FEATURES ? m->taught.features[n][f] : 1.0f);
            am_step(&m->taught.weight[labels[i]][f], &m->second_head[i][f], &grad, 1, correction);
        }
}

int am_learn(autometa *m, const int *labels, int ways)
{
    int count[AUTOMETA_CLASSES];
    for (int i = 0; i < ways; i++)
        count[i] = am_pictures_of(m, labels[i]);
    am_begin_last_layer(m, labels, ways);
    for (int t = 1; t <= AUTOMETA_STEPS; t++)
        step(m, labels, ways, count, am_correction(t));
    return am_last_layer_is_finite(m, labels, ways) ? AUTOMETA_OK : AUTOMETA_NOT_FINITE;
}

void am_scores(autometa *m, const uint8_t *picture, const int *labels, int ways, float *scores)
{
    am_features(picture, m->arena, m->features);
    am_scores_of(m, m->features, labels, ways, scores);
}

int am_taught_is_sound(const autometa *m)
{
    if (m->taught.pictures > AUTOMETA_PICTURES)
        return 0;
    for (uint32_t n = 0; n < m->taught.pictures; n++) {
        if (m->taught.label[n] >= AUTOMETA_CLASSES || !m->taught.used[m->taught.label[n]])
            return 0;
        if (!am_finite(m->taught.features[n], AUTOMETA_FEATURES))
            return 0;
    }
    for (int k = 0; k < AUTOMETA_CLASSES; k++)
        if (!am_finite(m->taught.weight[k], AUTOMETA_FEATURES + 1))
            return 0;
    return 1;
}
