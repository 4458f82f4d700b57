/* The operations of the network in integers of eight bits, see ops_int8.h. */
#include "ops_int8.h"

static int most(int a, int b)
{
    return a > b ? a : b;
}

static int least(int a, int b)
{
    return a < b ? a : b;
}

static int8_t within(int64_t value, int low)
{
    return (int8_t)(value > 127 ? 127 : value < low ? low : value);
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

static int8_t moved(const am_conv_sizes *s, int32_t sum, int32_t multiplier, int shift, int8_t before)
{
    int64_t value = ((int64_t)sum * multiplier + ((int64_t)1 << (shift - 1))) >> shift;
    if (s->add)
        value += before;
    return within(value, s->relu ? 0 : -127);
}

static int32_t dot(const int8_t *x, const int8_t *w, int size, int32_t total)
{
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

void am_conv_int8(const am_conv_sizes *s, const int8_t *x, const int8_t *weight, const int32_t *bias,
                  const int32_t *multiplier, const int8_t *shift, int8_t *y)
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
            int8_t *out = y + (row * s->out_width + column) * s->pixel;
            for (int o = 0; o < s->outs; o++) {
                int32_t total = bias ? bias[o] : 0;
                for (int ky = first_y; ky < stop_y; ky++)
                    total = dot(x + ((top + ky) * s->width + left + first_x) * s->channels,
                                weight + o * filter + (ky * s->kernel_width + first_x) * s->channels, run, total);
                out[o] = moved(s, total, multiplier[o], shift[o], out[o]);
            }
        }
    }
}

void am_depthwise_int8(const am_conv_sizes *s, const int8_t *x, const int8_t *weight, const int32_t *bias,
                       const int32_t *multiplier, const int8_t *shift, int8_t *y)
{
    for (int row = 0; row < s->out_height; row++) {
        const int top = row * s->stride - s->top;
        int stop_y;
        const int first_y = taps(top, s->kernel_height, s->dilation, s->height, &stop_y);
        for (int column = 0; column < s->out_width; column++) {
            const int left = column * s->stride - s->left;
            int stop_x;
            const int first_x = taps(left, s->kernel_width, s->dilation, s->width, &stop_x);
            int8_t *out = y + (row * s->out_width + column) * s->pixel;
            for (int c = 0; c < s->outs; c++) {
                int32_t total = bias ? bias[c] : 0;
                for (int ky = first_y; ky < stop_y; ky++)
                    for (int kx = first_x; kx < stop_x; kx++) {
                        const int pixel = (top + ky * s->dilation) * s->width + left + kx * s->dilation;
                        total += x[pixel * s->channels + c] * weight[(ky * s->kernel_width + kx) * s->channels + c];
                    }
                out[c] = moved(s, total, multiplier[c], shift[c], out[c]);
            }
        }
    }
}

void am_max_pool_int8(const am_pool_sizes *s, const int8_t *x, int8_t *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            const int top = row * s->stride - s->padding, left = column * s->stride - s->padding;
            const int stop_y = least(top + s->kernel, s->height), stop_x = least(left + s->kernel, s->width);
            for (int c = 0; c < s->channels; c++) {
                int8_t found = -127;
                for (int i = most(top, 0); i < stop_y; i++)
                    for (int j = most(left, 0); j < stop_x; j++)
                        if (x[(i * s->width + j) * s->channels + c] > found)
                            found = x[(i * s->width + j) * s->channels + c];
                y[(row * s->out_width + column) * s->channels + c] = found;
            }
        }
}

void am_average_pool_int8(const am_pool_sizes *s, const int8_t *x, int8_t *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            const int top = row * s->stride - s->padding, left = column * s->stride - s->padding;
            const int stop_y = least(top + s->kernel, s->height), stop_x = least(left + s->kernel, s->width);
            const int count = (stop_y - most(top, 0)) * (stop_x - most(left, 0));
            for (int c = 0; c < s->channels; c++) {
                int total = 0;
                for (int i = most(top, 0); i < stop_y; i++)
                    for (int j = most(left, 0); j < stop_x; j++)
                        total += x[(i * s->width + j) * s->channels + c];
                total = total < 0 ? -((-2 * total + count) / (2 * count)) : (2 * total + count) / (2 * count);
                y[(row * s->out_width + column) * s->channels + c] = (int8_t)total;
            }
        }
}

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

void am_relu_int8(const int8_t *x, int size, int8_t *y)
{
    for (int i = 0; i < size; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
}

void am_zero_int8(int8_t *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = 0;
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
