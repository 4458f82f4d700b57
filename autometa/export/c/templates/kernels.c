void am_conv@OF@(const am_conv_sizes *s, const @T@ *x, const @T@ *weight, const @SUM@ *bias,@SCALES@ @T@ *y)
{
    const int filter = s->kernel_height * s->kernel_width * s->channels;
    for (int row = 0; row < s->out_height; row++) {
        const int top = row * s->stride - s->top;
        int stop_y;
        const int first_y = am_taps(top, s->kernel_height, 1, s->height, &stop_y);
        for (int column = 0; column < s->out_width; column++) {
            const int left = column * s->stride - s->left;
            int stop_x;
            const int first_x = am_taps(left, s->kernel_width, 1, s->width, &stop_x);
            const int run = (stop_x - first_x) * s->channels;
            @T@ *out = y + (row * s->out_width + column) * s->pixel;
            for (int o = 0; o < s->outs; o++) {
                @SUM@ total = bias ? bias[o] : 0;
                for (int ky = first_y; ky < stop_y; ky++) {
                    const @T@ *w = weight + o * filter + (ky * s->kernel_width + first_x) * s->channels;
                    total += am_dot@OF@(x + ((top + ky) * s->width + left + first_x) * s->channels, w, run);
                }
                put(s, total, @SCALE_O@out + o);
            }
        }
    }
}

void am_depthwise@OF@(const am_conv_sizes *s, const @T@ *x, const @T@ *weight, const @SUM@ *bias,@SCALES@ @T@ *y)
{
    for (int row = 0; row < s->out_height; row++) {
        const int top = row * s->stride - s->top;
        int stop_y;
        const int first_y = am_taps(top, s->kernel_height, s->dilation, s->height, &stop_y);
        for (int column = 0; column < s->out_width; column++) {
            const int left = column * s->stride - s->left;
            int stop_x;
            const int first_x = am_taps(left, s->kernel_width, s->dilation, s->width, &stop_x);
            @T@ *out = y + (row * s->out_width + column) * s->pixel;
            for (int c = 0; c < s->outs; c++) {
                @SUM@ total = bias ? bias[c] : 0;
                for (int ky = first_y; ky < stop_y; ky++)
                    for (int kx = first_x; kx < stop_x; kx++) {
                        const int pixel = (top + ky * s->dilation) * s->width + left + kx * s->dilation;
                        total += x[pixel * s->channels + c] * weight[(ky * s->kernel_width + kx) * s->channels + c];
                    }
                put(s, total, @SCALE_C@out + c);
            }
        }
    }
}

void am_max_pool@OF@(const am_pool_sizes *s, const @T@ *x, @T@ *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            int stop_y, stop_x;
            const int top = am_window(row, s->kernel, s->stride, s->padding, s->height, &stop_y);
            const int left = am_window(column, s->kernel, s->stride, s->padding, s->width, &stop_x);
            for (int c = 0; c < s->channels; c++) {
                @T@ found = x[(top * s->width + left) * s->channels + c];
                for (int i = top; i < stop_y; i++)
                    for (int j = left; j < stop_x; j++) {
                        const @T@ value = x[(i * s->width + j) * s->channels + c];
                        found = value > found ? value : found;
                    }
                y[(row * s->out_width + column) * s->channels + c] = found;
            }
        }
}

void am_average_pool@OF@(const am_pool_sizes *s, const @T@ *x, @T@ *y)
{
    for (int row = 0; row < s->out_height; row++)
        for (int column = 0; column < s->out_width; column++) {
            int stop_y, stop_x;
            const int top = am_window(row, s->kernel, s->stride, s->padding, s->height, &stop_y);
            const int left = am_window(column, s->kernel, s->stride, s->padding, s->width, &stop_x);
            for (int c = 0; c < s->channels; c++) {
                @SUM@ total = 0;
                for (int i = top; i < stop_y; i++)
                    for (int j = left; j < stop_x; j++)
                        total += x[(i * s->width + j) * s->channels + c];
                y[(row * s->out_width + column) * s->channels + c] = mean(total, (stop_y - top) * (stop_x - left));
            }
        }
}

void am_relu@OF@(const @T@ *x, int size, @T@ *y)
{
    for (int i = 0; i < size; i++)
        y[i] = x[i] < 0 ? 0 : x[i];
}

void am_zero@OF@(@T@ *y, int size)
{
    for (int i = 0; i < size; i++)
        y[i] = 0;
}
