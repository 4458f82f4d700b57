/* The operations of the network, see ops.h. */
#include "ops.h"
#include "windows.h"

#include <math.h>
#include <string.h>

void am_pixels(const uint8_t *picture, int size, float *y)
{
    for (int i = 0; i < size; i++)
        y[i] = (float)picture[i] / 255.0f;
}

float am_dot(const float *x, const float *weight, int size)
{
    float a = 0.0f, b = 0.0f;
    int i = 0;
    for (; i + 1 < size; i += 2) {
        a += x[i] * weight[i];
        b += x[i + 1] * weight[i + 1];
    }
    if (i < size)
        a += x[i] * weight[i];
    return a + b;
}

static void put(const am_conv_sizes *s, float value, float *y)
{
    if (s->add)
        value += *y;
    *y = s->relu && value < 0.0f ? 0.0f : value;
}

static float mean(float total, int count)
{
    return total / (float)count;
}

@KERNELS@
void am_affine(const float *x, int pixels, int channels, const float *factor, const float *shift, int add, float *y)
{
    for (int i = 0; i < pixels; i++)
        for (int c = 0; c < channels; c++) {
            const float value = factor[c] * x[i * channels + c] + shift[c];
            y[i * channels + c] = add ? y[i * channels + c] + value : value;
        }
}

void am_scaled(const float *x, int size, float scale, int add, float *y)
{
    for (int i = 0; i < size; i++)
        y[i] = add ? y[i] + scale * x[i] : scale * x[i];
}

void am_copy(const float *x, int size, float *y)
{
    memmove(y, x, (size_t)size * sizeof *y);
}

void am_means(const float *x, int pixels, int channels, float *y)
{
    for (int c = 0; c < channels; c++) {
        float total = 0.0f;
        for (int i = 0; i < pixels; i++)
            total += x[i * channels + c];
        y[c] = total / (float)pixels;
    }
}

void am_softmax(float *x, int size)
{
    float best = x[0], total = 0.0f;
    for (int i = 1; i < size; i++)
        best = x[i] > best ? x[i] : best;
    for (int i = 0; i < size; i++)
        total += x[i] = expf(x[i] - best);
    for (int i = 0; i < size; i++)
        x[i] /= total;
}
