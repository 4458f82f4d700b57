/* The operations of the network, in plain C99.  A map is stored as height, width, channel, channel fastest. */
#ifndef AUTOMETA_OPS_H
#define AUTOMETA_OPS_H

#include <stdint.h>

/* Sizes of a convolution.  It writes `outs` channels of each pixel of a map that has `pixel` channels. */
typedef struct {
    int height, width, channels;           /* of the input */
    int out_height, out_width, outs, pixel; /* of the output */
    int kernel_height, kernel_width, stride, dilation;
    int top, left; /* rows and columns of zeros before the input; negative: the first ones are passed over */
    int add;       /* 1: add to what is there */
    int relu;      /* 1: negative results become 0 */
} am_conv_sizes;

/* Sizes of pooling. Only pixels inside the map count. */
typedef struct {
    int height, width, channels;
    int out_height, out_width;
    int kernel, stride, padding;
} am_pool_sizes;

void am_pixels(const uint8_t *picture, int size, float *y);
/* weight: [outs][kernel_height][kernel_width][channels]; bias may be NULL */
void am_conv(const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y);
/* one filter for each channel, weight: [kernel_height][kernel_width][channels] */
void am_depthwise(const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y);
void am_max_pool(const am_pool_sizes *s, const float *x, float *y);
void am_average_pool(const am_pool_sizes *s, const float *x, float *y);
/* y = factor * x + shift of each channel, added to what is there where `add` */
void am_affine(const float *x, int pixels, int channels, const float *factor, const float *shift, int add, float *y);
void am_scaled(const float *x, int size, float scale, int add, float *y);
void am_relu(const float *x, int size, float *y);
void am_zero(float *y, int size);
void am_copy(const float *x, int size, float *y);
/* the mean of each channel */
void am_means(const float *x, int pixels, int channels, float *y);
/* weight: [ways][size] */
float am_dot(const float *x, const float *weight, int size);
void am_softmax(float *x, int size);

#endif
