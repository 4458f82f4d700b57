/* The operations of the network in integers of eight bits: real value = scale * integer, symmetric about 0. */
#ifndef AUTOMETA_OPS_INT8_H
#define AUTOMETA_OPS_INT8_H

#include "ops.h"

void am_pixels_int8(const uint8_t *picture, int size, int8_t *y);
/* Sums are int32; result = sum * multiplier / 2^shift of each output channel, rounded. bias may be NULL. */
void am_conv_int8(const am_conv_sizes *s, const int8_t *x, const int8_t *weight, const int32_t *bias,
                  const int32_t *multiplier, const int8_t *shift, int8_t *y);
void am_depthwise_int8(const am_conv_sizes *s, const int8_t *x, const int8_t *weight, const int32_t *bias,
                       const int32_t *multiplier, const int8_t *shift, int8_t *y);
void am_max_pool_int8(const am_pool_sizes *s, const int8_t *x, int8_t *y);
void am_average_pool_int8(const am_pool_sizes *s, const int8_t *x, int8_t *y);
/* factor and shift have 16 bits behind the point */
void am_affine_int8(const int8_t *x, int pixels, int channels, const int32_t *factor, const int32_t *shift, int add,
                    int8_t *y);
void am_scaled_int8(const int8_t *x, int size, int32_t factor, int add, int8_t *y);
void am_relu_int8(const int8_t *x, int size, int8_t *y);
void am_zero_int8(int8_t *y, int size);
/* Features as float: scale * value, or scale * sum of each channel. */
void am_values_int8(const int8_t *x, int size, float scale, float *y);
void am_means_int8(const int8_t *x, int pixels, int channels, float scale, float *y);

#endif
