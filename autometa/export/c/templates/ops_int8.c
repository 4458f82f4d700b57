/* The operations of the network in integers of eight bits, see ops_int8.h. */
#include "ops_int8.h"
#include "windows.h"

static int8_t within(int64_t value, int low)
{
    return (int8_t)(value > 127 ? 127 : value < low ? low : value);
}

static void put(const am_conv_sizes *s, int32_t sum, int32_t multiplier, int shift, int8_t *y)
{
    int64_t value = ((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift;
    if (s->add)
        value += *y;
    *y = within(value, s->relu ? 0 : -127);
}

/* Rounded away from 0 at one half. */
static int8_t mean(int32_t total, int count)
{
    return (int8_t)(total < 0 ? -((-2 * total + count) / (2 * count)) : (2 * total + count) / (2 * count));
}

static int32_t am_dot_int8(const int8_t *x, const int8_t *w, int size)
{
    int32_t total = 0;
    int i = 0;
    for (; i + 3 < size; i += 4) {
        total += x[i] * w[i];
        total += x[i + 1] * w[i + 1];
        total += x[i + 2] * w[i + 2];
        total += x[i + 3] * w[i + 3];
    }
    for (; i < size; i++)
        total += x[i] * w[i];
    return total;
}

void am_pixels_int8(const uint8_t *picture, int size, int8_t *y)
{
    for (int i = 0; i < size; i++)
        y[i] = (int8_t)(picture[i] >> 1);
}

@INTEGER_KERNELS@
void am_affine_int8(const int8_t *x, int pixels, int channels, const int32_t *factor, const int32_t *shift, int add,
                    int8_t *y)
{
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < channels; c++) {
            const int at = i * channels + c;
            const int64_t value = ((int64_t)x[at] * factor[c] + shift[c] + 32768) >> 16;
            y[at] = within(add ? value + y[at] : value, -127);
        }
}

void am_scaled_int8(const int8_t *x, int size, int32_t factor, int add, int8_t *y)
{
    for (int i = 0; i < size; i++) {
        const int64_t value = ((int64_t)x[i] * factor + 32768) >> 16;
        y[i] = within(add ? value + y[i] : value, -127);
    }
}

void am_values_int8(const int8_t *x, int size, float scale, float *y)
{
    for (int i = 0; i < size; i++)
        y[i] = (float)x[i] * scale;
}

void am_means_int8(const int8_t *x, int pixels, int channels, float scale, float *y)
{
    for (int c = 0; c < channels; c++) {
        int32_t total = 0;
        for (int i = 0; i < pixels; i++)
            total += x[i * channels + c];
        y[c] = (float)total * scale;
    }
}
