void am_norm_back(const float *x, const float *gy, int pixels, int channels, const float *mean, const float *variance,
                  float eps, const float *gamma, float scale, float *gx, float *grad_gamma, float *grad_beta)
{
    for (int c = 0; c < channels; c++) {
        const float inverse = 1.0f / sqrtf(variance[c] + eps);
        const float factor = scale * (gamma ? gamma[c] : 1.0f) * inverse;
        double total = 0.0, along = 0.0;
        for (int p = 0; p < pixels; p++) {
            const float slope = gy[p * channels + c];
            total += (double)slope;
            along += (double)(slope * (x[p * channels + c] - mean[c]));
            gx[p * channels + c] = slope * factor;
        }
        if (grad_gamma)
            grad_gamma[c] = scale * (float)(along * (double)inverse);
        if (grad_beta)
            grad_beta[c] = scale * (float)total;
    }
}
