/* Backward passes and normalisation@BY@. `n` is the number of pictures, one after another. */
#ifndef AUTOMETA_TRAIN_H
#define AUTOMETA_TRAIN_H

#include "ops.h"

void am_conv_all(int n, const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y);
void am_depthwise_all(int n, const am_conv_sizes *s, const float *x, const float *weight, const float *bias, float *y);
void am_max_pool_all(int n, const am_pool_sizes *s, const float *x, float *y);
void am_average_pool_all(int n, const am_pool_sizes *s, const float *x, float *y);

@MOMENTS_DECLARED@/* y = scale * (gamma * (x - mean) / sqrt(variance + eps) + beta); gamma and beta may be NULL: 1 and 0 */
void am_norm(const float *x, int pixels, int channels, const float *mean, const float *variance, float eps,
             const float *gamma, const float *beta, float scale, int add, float *y);
/* From the gradient gy of what am_norm made by @WHOSE@: gx, and of gamma and beta (NULL: not wanted). */
void am_norm_back(const float *x, const float *gy, int pixels, int channels, const float *mean, const float *variance,
                  float eps, const float *gamma, float scale, float *gx, float *grad_gamma, float *grad_beta);

/* These add to gx, grad_weight and grad_bias (may be NULL). */
void am_conv_back(int n, const am_conv_sizes *s, const float *gy, const float *weight, float *gx);
void am_conv_grad(int n, const am_conv_sizes *s, const float *x, const float *gy, float *grad_weight, float *grad_bias);
void am_depthwise_back(int n, const am_conv_sizes *s, const float *gy, const float *weight, float *gx);
void am_depthwise_grad(int n, const am_conv_sizes *s, const float *x, const float *gy, float *grad_weight,
                       float *grad_bias);
void am_max_pool_back(int n, const am_pool_sizes *s, const float *x, const float *gy, float *gx);
void am_average_pool_back(int n, const am_pool_sizes *s, const float *x, const float *gy, float *gx);
void am_relu_back(const float *x, const float *gy, int size, float *gx);
/* The gradient of a mean of each channel, or of a copy, goes to every pixel. */
void am_means_back(const float *grad, int pixels, int channels, float *gx);

#endif
