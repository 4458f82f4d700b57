/* Backward passes and normalisation@BY@, see train.h. */
#include "train.h"
#include "windows.h"

#include <math.h>
#include <string.h>

static int input_size(const am_conv_sizes *s)
{
    return s->height * s->width * s->channels;
}

static int output_size(const am_conv_sizes *s)
{
    return s->out_height * s->out_width * s->pixel;
}

void am_conv_all(int n, const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y)
{
    for (int i = 0; i < n; i++)
        am_conv(s, x + i * input_size(s), weight, bias, y + i * output_size(s));
}

void am_depthwise_all(int n, const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y)
{
    for (int i = 0; i < n; i++)
        am_depthwise(s, x + i * input_size(s), weight, bias, y + i * output_size(s));
}

static int pool_input(const am_pool_sizes *s)
{
    return s->height * s->width * s->channels;
}

static int pool_output(const am_pool_sizes *s)
{
    return s->out_height * s->out_width * s->channels;
}

void am_max_pool_all(int n, const am_pool_sizes *s, const float *x, float *y)
{
    for (int i = 0; i < n; i++)
        am_max_pool(s, x + i * pool_input(s), y + i * pool_output(s));
}

void am_average_pool_all(int n, const am_pool_sizes *s, const float *x, float *y)
{
    for (int i = 0; i < n; i++)
        am_average_pool(s, x + i * pool_input(s), y + i * pool_output(s));
}

@MOMENTS_OF@void am_norm(const float *x, int pixels, int channels, const float *mean, const float *variance, float eps,
             const float *gamma, const float *beta, float scale, int add, float *y)
{
    for (int c = 0; c < channels; c++) {
        const float factor = scale * (gamma ? gamma[c] : 1.0f) / sqrtf(variance[c] + eps);
        const float shift = beta ? scale * beta[c] : 0.0f;
        for (int p = 0; p < pixels; p++) {
            const float value = (x[p * channels + c] - mean[c]) * factor + shift;
            y[p * channels + c] = add ? y[p * channels + c] + value : value;
        }
    }
}

@NORM_BACK@/* The row or column of the input that a tap reads; -1 outside. */
static int meets(int out, int tap, int stride, int before, int dilation, int size)
{
    const int at = out * stride - before + tap * dilation;
    return at >= 0 && at < size ? at : -1;
}

void am_conv_back(int n, const am_conv_sizes *s, const float *gy, const float *weight, float *gx)
{
    const int filter = s->kernel_height * s->kernel_width * s->channels;
    for (int i = 0; i < n; i++, gy += output_size(s), gx += input_size(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++)
                for (int ky = 0; ky < s->kernel_height; ky++)
                    for (int kx = 0; kx < s->kernel_width; kx++) {
                        const int y = meets(row, ky, s->stride, s->top, 1, s->height);
                        const int x = meets(column, kx, s->stride, s->left, 1, s->width);
                        const float *g = gy + (row * s->out_width + column) * s->pixel;
                        if (y < 0 || x < 0)
                            continue;
                        for (int o = 0; o < s->outs; o++) {
                            const float *w = weight + o * filter + (ky * s->kernel_width + kx) * s->channels;
                            float *to = gx + (y * s->width + x) * s->channels;
                            for (int c = 0; c < s->channels; c++)
                                to[c] += g[o] * w[c];
                        }
                    }
}

void am_conv_grad(int n, const am_conv_sizes *s, const float *x, const float *gy, float *grad_weight, float *grad_bias)
{
    const int filter = s->kernel_height * s->kernel_width * s->channels;
    for (int i = 0; i < n; i++, gy += output_size(s), x += input_size(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++) {
                const float *g = gy + (row * s->out_width + column) * s->pixel;
                for (int o = 0; grad_bias && o < s->outs; o++)
                    grad_bias[o] += g[o];
                for (int ky = 0; ky < s->kernel_height; ky++)
                    for (int kx = 0; kx < s->kernel_width; kx++) {
                        const int y = meets(row, ky, s->stride, s->top, 1, s->height);
                        const int left = meets(column, kx, s->stride, s->left, 1, s->width);
                        if (y < 0 || left < 0)
                            continue;
                        for (int o = 0; o < s->outs; o++) {
                            float *w = grad_weight + o * filter + (ky * s->kernel_width + kx) * s->channels;
                            const float *from = x + (y * s->width + left) * s->channels;
                            for (int c = 0; c < s->channels; c++)
                                w[c] += g[o] * from[c];
                        }
                    }
            }
}

void am_depthwise_back(int n, const am_conv_sizes *s, const float *gy, const float *weight, float *gx)
{
    for (int i = 0; i < n; i++, gy += output_size(s), gx += input_size(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++)
                for (int ky = 0; ky < s->kernel_height; ky++)
                    for (int kx = 0; kx < s->kernel_width; kx++) {
                        const int y = meets(row, ky, s->stride, s->top, s->dilation, s->height);
                        const int x = meets(column, kx, s->stride, s->left, s->dilation, s->width);
                        const float *g = gy + (row * s->out_width + column) * s->pixel;
                        if (y < 0 || x < 0)
                            continue;
                        for (int c = 0; c < s->outs; c++)
                            gx[(y * s->width + x) * s->channels + c] +=
                                g[c] * weight[(ky * s->kernel_width + kx) * s->channels + c];
                    }
}

void am_depthwise_grad(int n, const am_conv_sizes *s, const float *x, const float *gy, float *grad_weight,
                       float *grad_bias)
{
    for (int i = 0; i < n; i++, gy += output_size(s), x += input_size(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++) {
                const float *g = gy + (row * s->out_width + column) * s->pixel;
                for (int c = 0; grad_bias && c < s->outs; c++)
                    grad_bias[c] += g[c];
                for (int ky = 0; ky < s->kernel_height; ky++)
                    for (int kx = 0; kx < s->kernel_width; kx++) {
                        const int y = meets(row, ky, s->stride, s->top, s->dilation, s->height);
                        const int left = meets(column, kx, s->stride, s->left, s->dilation, s->width);
                        if (y < 0 || left < 0)
                            continue;
                        for (int c = 0; c < s->outs; c++)
                            grad_weight[(ky * s->kernel_width + kx) * s->channels + c] +=
                                g[c] * x[(y * s->width + left) * s->channels + c];
                    }
            }
}

void am_max_pool_back(int n, const am_pool_sizes *s, const float *x, const float *gy, float *gx)
{
    for (int i = 0; i < n; i++, x += pool_input(s), gx += pool_input(s), gy += pool_output(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++) {
                int below, right;
                const int top = am_window(row, s->kernel, s->stride, s->padding, s->height, &below);
                const int left = am_window(column, s->kernel, s->stride, s->padding, s->width, &right);
                for (int c = 0; c < s->channels; c++) {
                    int best = (top * s->width + left) * s->channels + c; /* the first of equal ones */
                    for (int y = top; y < below; y++)
                        for (int at = left; at < right; at++) {
                            const int here = (y * s->width + at) * s->channels + c;
                            best = x[here] > x[best] ? here : best;
                        }
                    gx[best] += gy[(row * s->out_width + column) * s->channels + c];
                }
            }
}

void am_average_pool_back(int n, const am_pool_sizes *s, const float *x, const float *gy, float *gx)
{
    (void)x;
    for (int i = 0; i < n; i++, gx += pool_input(s), gy += pool_output(s))
        for (int row = 0; row < s->out_height; row++)
            for (int column = 0; column < s->out_width; column++) {
                int below, right;
                const int top = am_window(row, s->kernel, s->stride, s->padding, s->height, &below);
                const int left = am_window(column, s->kernel, s->stride, s->padding, s->width, &right);
                const float share = 1.0f / (float)((below - top) * (right - left));
                for (int y = top; y < below; y++)
                    for (int at = left; at < right; at++)
                        for (int c = 0; c < s->channels; c++)
                            gx[(y * s->width + at) * s->channels + c] +=
                                share * gy[(row * s->out_width + column) * s->channels + c];
            }
}

void am_relu_back(const float *x, const float *gy, int size, float *gx)
{
    for (int i = 0; i < size; i++)
        if (x[i] > 0.0f)
            gx[i] += gy[i];
}

void am_means_back(const float *grad, int pixels, int channels, float *gx)
{
    for (int p = 0; p < pixels; p++)
        for (int c = 0; c < channels; c++)
            gx[p * channels + c] += grad[c] / (float)pixels;
}
