int am_normalise(autometa *m, int n, int how, int norm, int first, int pixels, int channels, float eps, const float *x,
                 const float *gamma, const float *beta, float scale, int add, float *y)
{
    float *mean = m->taught.mean + first, *variance = m->taught.variance + first;
    if (how == norm) { /* measure: joined with the moments of the pictures before (Chan et al. 1979) */
        float *own = m->grad, *own_variance = m->grad + channels;
        const float share = m->times / (m->measured + m->times);
        am_moments(x, pixels, channels, own, own_variance);
        for (int c = 0; c < channels; c++) {
            const float apart = own[c] - mean[c];
            if (m->measured == 0.0f) {
                mean[c] = own[c];
                variance[c] = own_variance[c];
                continue;
            }
            mean[c] += apart * share;
            variance[c] += (own_variance[c] - variance[c]) * share + apart * apart * share * (1.0f - share);
        }
        m->measured += m->times;
        return 1;
    }
    if (how == AM_BY_BATCH)
        am_moments(x, n * pixels, channels, mean, variance);
    am_norm(x, n * pixels, channels, mean, variance, eps, gamma, beta, scale, add, y);
    return 0;
}
