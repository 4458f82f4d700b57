void am_moments(const float *x, int pixels, int channels, float *mean, float *variance)
{
    for (int c = 0; c < channels; c++) {
        double total = 0.0, apart = 0.0;
        float middle;
        for (int p = 0; p < pixels; p++)
            total += (double)x[p * channels + c];
        middle = (float)(total / (double)pixels);
        for (int p = 0; p < pixels; p++) {
            const float centred = x[p * channels + c] - middle;
            apart += (double)(centred * centred);
        }
        mean[c] = middle;
        variance[c] = (float)(apart / (double)pixels);
    }
}
