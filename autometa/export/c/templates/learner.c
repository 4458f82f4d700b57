/* Classes, answers, and what was taught as bytes: common to all ways to learn. */
#include "learner.h"
#include "ops.h"

#include <math.h>

static int is_class(const autometa *m, int label)
{
    return label >= 0 && label < AUTOMETA_CLASSES && m->taught.used[label];
}

int am_classes(const autometa *m, int *labels)
{
    int ways = 0;
    for (int k = 0; k < AUTOMETA_CLASSES; k++)
        if (m->taught.used[k])
            labels[ways++] = k;
    return ways;
}

int am_finite(const float *values, int count)
{
    for (int i = 0; i < count; i++)
        if (!isfinite(values[i]))
            return 0;
    return 1;
}

/* Softmax of the scores; the answer of autometa_predict. */
static int answer(float *scores, const int *labels, int ways, float *probabilities)
{
    int best = 0;
    if (!am_finite(scores, ways))
        return AUTOMETA_NOT_FINITE;
    am_softmax(scores, ways);
    for (int k = 0; probabilities && k < AUTOMETA_CLASSES; k++)
        probabilities[k] = 0.0f;
    for (int i = 0; i < ways; i++) {
        if (probabilities)
            probabilities[labels[i]] = scores[i];
        if (scores[i] > scores[best])
            best = i;
    }
    return scores[best] < AUTOMETA_MIN_PROBABILITY ? AUTOMETA_NONE : labels[best];
}

int autometa_init(autometa *m)
{
    if (!m)
        return AUTOMETA_NO_POINTER;
    memset(m, 0, sizeof *m);
    return AUTOMETA_OK;
}

int autometa_add_class(autometa *m)
{
    if (!m)
        return AUTOMETA_NO_POINTER;
    for (int k = 0; k < AUTOMETA_CLASSES; k++)
        if (!m->taught.used[k]) {
            m->taught.used[k] = 1;
            m->taught.learned = 0;
            return k;
        }
    return AUTOMETA_FULL;
}

int autometa_forget_class(autometa *m, int label)
{
    if (!m)
        return AUTOMETA_NO_POINTER;
    if (!is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    am_drop(m, label);
    m->taught.used[label] = 0;
    m->taught.learned = 0;
    return AUTOMETA_OK;
}

int autometa_teach(autometa *m, const uint8_t *picture, int label)
{
    int code;
    if (!m || !picture)
        return AUTOMETA_NO_POINTER;
    if (!is_class(m, label))
        return AUTOMETA_BAD_LABEL;
    code = am_look(m, picture, label);
    if (code == AUTOMETA_OK)
        m->taught.learned = 0;
    return code;
}

int autometa_learn(autometa *m)
{
    int labels[AUTOMETA_CLASSES], ways, code;
    if (!m)
        return AUTOMETA_NO_POINTER;
    m->taught.learned = 0;
    ways = am_classes(m, labels);
    for (int i = 0; i < ways; i++)
        if (!am_pictures_of(m, labels[i]))
            return AUTOMETA_NOT_TAUGHT;
    if (ways < 2)
        return AUTOMETA_NOT_TAUGHT;
    code = am_learn(m, labels, ways);
    m->taught.learned = code == AUTOMETA_OK;
    return code;
}

int autometa_predict(autometa *m, const uint8_t *picture, float *probabilities)
{
    int labels[AUTOMETA_CLASSES], ways;
    float scores[AUTOMETA_CLASSES];
    if (!m || !picture)
        return AUTOMETA_NO_POINTER;
    if (!m->taught.learned)
        return AUTOMETA_NOT_LEARNED;
    ways = am_classes(m, labels);
    am_scores(m, picture, labels, ways, scores);
    return answer(scores, labels, ways, probabilities);
}

/* Bytes of a saved state: "AMTA", version, model, bytes of what was taught, that itself, CRC-32 over all before. */
static const uint8_t MAGIC[4] = {'A', 'M', 'T', 'A'};

static uint32_t crc32_of(const uint8_t *bytes, size_t size)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < size; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    return ~crc;
}

int autometa_save(const autometa *m, uint8_t *bytes, size_t room)
{
    const uint32_t head[3] = {AUTOMETA_VERSION, AUTOMETA_MODEL, (uint32_t)sizeof m->taught};
    uint32_t crc;
    if (!m || !bytes || room < AUTOMETA_STATE_BYTES)
        return AUTOMETA_NO_POINTER;
    memcpy(bytes, MAGIC, 4);
    memcpy(bytes + 4, head, 12);
    memcpy(bytes + 16, &m->taught, sizeof m->taught);
    crc = crc32_of(bytes, AUTOMETA_STATE_BYTES - 4);
    memcpy(bytes + AUTOMETA_STATE_BYTES - 4, &crc, 4);
    return AUTOMETA_OK;
}

static int is_sound(const autometa *m)
{
    int ways = 0;
    for (int k = 0; k < AUTOMETA_CLASSES; k++) {
        if (m->taught.used[k] > 1)
            return 0;
        ways += (int)m->taught.used[k];
    }
    if (m->taught.learned > (ways >= 2 ? 1u : 0u) || !am_taught_is_sound(m))
        return 0;
    for (int k = 0; k < AUTOMETA_CLASSES; k++)
        if (m->taught.learned && m->taught.used[k] && !am_pictures_of(m, k))
            return 0;
    return 1;
}

int autometa_restore(autometa *m, const uint8_t *bytes, size_t size)
{
    const uint32_t wanted[3] = {AUTOMETA_VERSION, AUTOMETA_MODEL, (uint32_t)sizeof m->taught};
    uint32_t crc;
    if (!m || !bytes)
        return AUTOMETA_NO_POINTER;
    autometa_init(m);
    if (size != AUTOMETA_STATE_BYTES || memcmp(bytes, MAGIC, 4) || memcmp(bytes + 4, wanted, 12))
        return AUTOMETA_BAD_STATE;
    memcpy(&crc, bytes + AUTOMETA_STATE_BYTES - 4, 4);
    if (crc != crc32_of(bytes, AUTOMETA_STATE_BYTES - 4))
        return AUTOMETA_BAD_STATE;
    memcpy(&m->taught, bytes + 16, sizeof m->taught);
    if (!is_sound(m)) {
        autometa_init(m);
        return AUTOMETA_BAD_STATE;
    }
    return AUTOMETA_OK;
}
