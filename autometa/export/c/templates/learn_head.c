/* Learning by head: features of the taught pictures are kept, gradient steps change the last layer alone.
 *
 * Each step is one of Adam without a first moment, or of plain descent, as the network was trained; the loss is the
 * cross-entropy, the mean over classes of the means over pictures. */
#include "head_start.h"
#include "learner.h"
#include "network.h"
#include "ops.h"

#include <math.h>

int autometa_teach(autometa *m, const uint8_t *picture, int label)
{
    uint32_t n;
    if (!m || !picture)
        return AUTOMETA_NO_POINTER;
    if (!am_is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    n = m->taught.pictures;
    if (n >= AUTOMETA_PICTURES)
        return AUTOMETA_FULL;
    am_features(picture, m->arena, m->taught.features[n]);
    if (!am_finite(m->taught.features[n], AUTOMETA_FEATURES))
        return AUTOMETA_NOT_FINITE;
    m->taught.label[n] = (uint32_t)label;
    m->taught.pictures = n + 1;
    m->taught.learned = 0;
    return AUTOMETA_OK;
}

int autometa_forget_class(autometa *m, int label)
{
    uint32_t kept = 0;
    if (!m)
        return AUTOMETA_NO_POINTER;
    if (!am_is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    for (uint32_t n = 0; n < m->taught.pictures; n++)
        if (m->taught.label[n] != (uint32_t)label) {
            m->taught.label[kept] = m->taught.label[n];
            am_copy(m->taught.features[n], AUTOMETA_FEATURES, m->taught.features[kept]);
            kept++;
        }
    m->taught.pictures = kept;
    m->taught.used[label] = 0;
    m->taught.learned = 0;
    return AUTOMETA_OK;
}

/* The last layer's scores of one picture. */
static void scores_of(const autometa *m, const float *features, const int *labels, int ways, float *scores)
{
    for (int i = 0; i < ways; i++) {
        const float *row = m->taught.weight[labels[i]];
        scores[i] = am_dot(features, row, AUTOMETA_FEATURES) + row[AUTOMETA_FEATURES];
    }
}

/* Each class begins at its row of the meta-learned last layer; the last row is for all further classes. */
static void begin(autometa *m, const int *labels, int ways)
{
    for (int i = 0; i < ways; i++) {
        const int row = i < AM_HEAD_ROWS ? i : AM_HEAD_ROWS;
        am_copy(am_head_start[row], AUTOMETA_FEATURES + 1, m->taught.weight[labels[i]]);
        am_copy(am_head_second[row], AUTOMETA_FEATURES + 1, m->second[i]);
    }
}

static void step(autometa *m, const int *labels, int ways, const int *count, int number)
{
    const uint32_t pictures = m->taught.pictures;
    const float correction = AM_ADAM ? (float)(1.0 / (1.0 - pow(AM_BETA2, (double)number))) : 1.0f;
    for (uint32_t n = 0; n < pictures; n++) {
        float *wrong = m->wrong[n];
        scores_of(m, m->taught.features[n], labels, ways, wrong);
        am_softmax(wrong, ways);
        for (int i = 0; i < ways; i++)
            if (labels[i] == (int)m->taught.label[n]) {
                wrong[i] -= 1.0f;
                am_scaled(wrong, ways, 1.0f / (float)(ways * count[i]), 0, wrong);
                break;
            }
    }
    for (int i = 0; i < ways; i++) {
        float *row = m->taught.weight[labels[i]], *second = m->second[i];
        for (int f = 0; f <= AUTOMETA_FEATURES; f++) {
            float slope = AM_DECAY * row[f];
            for (uint32_t n = 0; n < pictures; n++)
                slope += m->wrong[n][i] * (f < AUTOMETA_FEATURES ? m->taught.features[n][f] : 1.0f);
            if (!AM_ADAM) {
                row[f] -= AM_RATE * slope;
                continue;
            }
            second[f] = second[f] * (float)AM_BETA2 + slope * slope * (float)(1.0 - AM_BETA2);
            row[f] -= AM_RATE * slope / (sqrtf(second[f] * correction) + AM_EPS);
        }
    }
}

int autometa_learn(autometa *m)
{
    int labels[AUTOMETA_CLASSES], count[AUTOMETA_CLASSES], ways;
    if (!m)
        return AUTOMETA_NO_POINTER;
    ways = am_classes(m, labels);
    if (ways < 2)
        return AUTOMETA_NOT_TAUGHT;
    for (int i = 0; i < ways; i++) {
        count[i] = 0;
        for (uint32_t n = 0; n < m->taught.pictures; n++)
            count[i] += (int)m->taught.label[n] == labels[i];
        if (!count[i])
            return AUTOMETA_NOT_TAUGHT;
    }
    m->taught.learned = 0;
    begin(m, labels, ways);
    for (int t = 1; t <= AUTOMETA_STEPS; t++)
        step(m, labels, ways, count, AM_STEPS_BEFORE + t);
    for (int i = 0; i < ways; i++)
        if (!am_finite(m->taught.weight[labels[i]], AUTOMETA_FEATURES + 1))
            return AUTOMETA_NOT_FINITE;
    m->taught.learned = 1;
    return AUTOMETA_OK;
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
    scores_of(m, m->features, labels, ways, scores);
    return am_answer(scores, labels, ways, probabilities);
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
