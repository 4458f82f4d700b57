/* Learning by all: gradient steps on the whole network, @NORMALISED@
 *
 * The steps are those of the network's own training: batches in the same order, Adam without a first moment. */
#include "head_start.h"
#include "last_layer.h"
#include "learner.h"
#include "network.h"
#include "ops.h"
#include "train.h"

int am_look(autometa *m, const uint8_t *picture, int label)
{
    if (m->taught.pictures[label] >= AUTOMETA_SHOTS)
        return AUTOMETA_FULL;
    memcpy(m->taught.picture[label][m->taught.pictures[label]], picture, AUTOMETA_PICTURE_BYTES);
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
}

/* Philox-4x32-10 (Salmon et al. 2011): random number `draw` of stream 1 of AM_SEED. */
static uint32_t random_number(uint32_t draw)
{
    uint32_t c[4] = {0, 0, draw / 4, 0}, key[2] = {AM_SEED, 1};
    for (int round = 0; round < 10; round++) {
        const uint64_t low = (uint64_t)0xd2511f53u * c[0], high = (uint64_t)0xcd9e8d57u * c[2];
        c[0] = (uint32_t)(high >> 32) ^ c[1] ^ key[0];
        c[2] = (uint32_t)(low >> 32) ^ c[3] ^ key[1];
        c[1] = (uint32_t)high;
        c[3] = (uint32_t)low;
        key[0] += 0x9e3779b9u;
        key[1] += 0xbb67ae85u;
    }
    return c[draw % 4];
}

static int below(uint32_t draw, int limit)
{
    return (int)(((uint64_t)random_number(draw) * (uint64_t)limit) >> 32);
}

/* The order of the items in one pass over all of them. */
static void shuffle(autometa *m, int items, int pass)
{
    for (int i = 0; i < items; i++)
        m->order[i] = (uint16_t)i;
    for (int i = items - 1; i > 0; i--) {
        const int other = below((uint32_t)(pass * items + i), i + 1);
        const uint16_t kept = m->order[i];
        m->order[i] = m->order[other];
        m->order[other] = kept;
    }
}

/* Item `number` of the endless row of batches.  Classes are evened out: there are `most` items of each, its pictures in
 * turn. */
static int item(autometa *m, int items, int number)
{
    if (!AM_PASSES)
        return below((uint32_t)number, items);
    if (number % items == 0)
        shuffle(m, items, number / items);
    return m->order[number % items];
}

static void step(autometa *m, const int *labels, int ways, int most, int number)
{
    const int items = ways * most, batch = items < AM_BATCH ? items : AM_BATCH;
    const float correction = am_correction(number);
    for (int n = 0; n < batch; n++) {
        const int chosen = item(m, items, (number - 1) * batch + n);
        const int label = labels[chosen / most];
        m->truth[n] = chosen / most;
        am_pixels(m->taught.picture[label][chosen % most % (int)m->taught.pictures[label]], AUTOMETA_PICTURE_BYTES,
                  m->arena + AM_PICTURE + n * AUTOMETA_PICTURE_BYTES);
    }
    am_forward(m, batch, @LEARNING@m->features);
    for (int n = 0; n < batch; n++) {
        float *wrong = m->wrong[n], *grad = m->grad_features + n * AUTOMETA_FEATURES;
        am_scores_of(m, m->features + n * AUTOMETA_FEATURES, labels, ways, wrong);
        am_softmax(wrong, ways);
        wrong[m->truth[n]] -= 1.0f;
        am_scaled(wrong, ways, 1.0f / (float)batch, 0, wrong);
        am_zero(grad, AUTOMETA_FEATURES);
        for (int i = 0; i < ways; i++)
            am_scaled(m->taught.weight[labels[i]], AUTOMETA_FEATURES, wrong[i], 1, grad);
    }
    for (int i = 0; i < ways; i++) {
        am_zero(m->grad, AUTOMETA_FEATURES + 1);
        for (int n = 0; n < batch; n++) {
            am_scaled(m->features + n * AUTOMETA_FEATURES, AUTOMETA_FEATURES, m->wrong[n][i], 1, m->grad);
            m->grad[AUTOMETA_FEATURES] += m->wrong[n][i];
        }
        am_step(m->taught.weight[labels[i]], m->second_head[i], m->grad, AUTOMETA_FEATURES + 1, correction);
    }
    am_backward(m, batch, correction);
}

@MEASURE@int am_learn(autometa *m, const int *labels, int ways)
{
    int most = 0;
    for (int i = 0; i < ways; i++) {
        const int pictures = am_pictures_of(m, labels[i]);
        most = pictures > most ? pictures : most;
    }
    am_copy(am_body_start, AM_BODY, m->taught.body);
    am_copy(am_body_second, AM_BODY, m->second);
    am_begin_last_layer(m, labels, ways);
    for (int t = 1; t <= AUTOMETA_STEPS; t++)
        step(m, labels, ways, most, t);
@MEASURED_NOW@    if (!am_finite(m->taught.body, AM_BODY)@OR_MOMENTS@)
        return AUTOMETA_NOT_FINITE;
    return am_last_layer_is_finite(m, labels, ways) ? AUTOMETA_OK : AUTOMETA_NOT_FINITE;
}

void am_scores(autometa *m, const uint8_t *picture, const int *labels, int ways, float *scores)
{
    am_pixels(picture, AUTOMETA_PICTURE_BYTES, m->arena + AM_PICTURE);
    am_forward(m, 1, @ASKED@m->features);
    am_scores_of(m, m->features, labels, ways, scores);
}

@NORMALISE@int am_taught_is_sound(const autometa *m)
{
    for (int k = 0; k < AUTOMETA_CLASSES; k++) {
        if (m->taught.pictures[k] > (m->taught.used[k] ? AUTOMETA_SHOTS : 0u))
            return 0;
        if (!am_finite(m->taught.weight[k], AUTOMETA_FEATURES + 1))
            return 0;
    }
@VARIANCES@    return am_finite(m->taught.body, AM_BODY)@AND_MOMENTS@;
}
