/* The operations of the network, see ops.h. */
#include "ops.h"

#include <math.h>
#include <string.h>

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

/* The taps first .. *stop - 1 of a kernel that meet the map, whose tap 0 lies at `at`. */
static int taps(int at, int kernel, int dilation, int size, int *stop)
{
    int first = 0, end = kernel;
    while (first < kernel && at + first * dilation < 0)
        first++;
    while (end > first && at + (end - 1) * dilation >= size)
        end--;
    *stop = end;
    return first;
}

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

void am_conv(const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y)
{
    const int filter = s->kernel_height * s->kernel_width * s->channels;
    for (int row = 0; row < s->out_height; row++) {
        const int top = row * s->stride - s->top;
        int stop_y;
        const int first_y = taps(top, s->kernel_height, 1, s->height, &stop_y);
        for (int column = 0; column < s->out_width; column++) {
            const int left = column * s->stride - s->left;
            int stop_x;
            const int first_x = taps(left, s->kernel_width, 1, s->width, &stop_x);
            const int run = (stop_x - first_x) * s->channels;
            float *out = y + (row * s->out_width + column) * s->pixel;
            for (int o = 0; o < s->outs; o++) {
                float total = bias ? bias[o] : 0.0f;
                for (int ky = first_y; ky < stop_y; ky++) {
                    const float *w = weight + o * filter + (ky * s->kernel_width + first_x) * s->channels;
                    total += am_dot(x + ((top + ky) * s->width + left + first_x) * s->channels, w, run);
                }
                put(s, total, out + o);
            }
        }
    }
}

void am_depthwise(const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y)
{
    for (int row = 0; row < s->out_height; row++) {
        const int top = row * s->stride - s->top;
        int stop_y;
        const int first_y = taps(top, s->kernel_height, s->dilation, s->height, &stop_y);
        for (int column = 0; column < s->out_width; column++) {
            const int left = column * s->stride - s->left;
            int stop_x;
            const int first_x = taps(left, s->kernel_width, s->dilation, s->width, &stop_x);
            float *out = y + (row * s->out_width + column) * s->pixel;
            for (int c = 0; c < s->outs; c++) {
                float total = bias ? bias[c] : 0.0f;
                for (int ky = first_y; ky < stop_y; ky++)
                    for (int kx = first_x; kx < stop_x; kx++) {
                        const int pixel = (top + ky * s->dilation) * s->width + left + kx * s->dilation;
                        total += x[pixel * s->channels + c] * weight[(ky * s->kernel_width + kx) * s->channels + c];
                    }
                put(s, total, out + c);
            }
        }
    }
}

void am_max_pool(const am_pool_sizes *s, const float *x, float *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            const int top = row * s->stride - s->padding, left = column * s->stride - s->padding;
            const int stop_y = least(top + s->kernel, s->height), stop_x = least(left + s->kernel, s->width);
            for (int c = 0; c < s->channels; c++) {
                float found = x[(most(top, 0) * s->width + most(left, 0)) * s->channels + c];
                for (int i = most(top, 0); i < stop_y; i++)
                    for (int j = most(left, 0); j < stop_x; j++) {
                        const float value = x[(i * s->width + j) * s->channels + c];
                        found = value > found ? value : found;
                    }
                y[(row * s->out_width + column) * s->channels + c] = found;
            }
        }
}

void am_average_pool(const am_pool_sizes *s, const float *x, float *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            const int top = row * s->stride - s->padding, left = column * s->stride - s->padding;
            const int stop_y = least(top + s->kernel, s->height), stop_x = least(left + s->kernel, s->width);
            const int count = (stop_y - most(top, 0)) * (stop_x - most(left, 0));
            for (int c = 0; c < s->channels; c++) {
                float total = 0.0f;
                for (int i = most(top, 0); i < stop_y; i++)
                    for (int j = most(left, 0); j < stop_x; j++)
                        total += x[(i * s->width + j) * s->channels + c];
                y[(row * s->out_width + column) * s->channels + c] = total / (float)count;
            }
        }
}

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

void am_relu(const float *x, int size, float *y)
{
    for (int i = 0; i < size; i++)
        y[i] = x[i] < 0.0f ? 0.0f : x[i];
}

void am_zero(float *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = 0.0f;
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
