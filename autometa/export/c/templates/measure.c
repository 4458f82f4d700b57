/* Mean and variance before every normalisation, of all taught pictures, classes evened out: one after another, since
 * each depends on those before it. */
static void measure(autometa *m, const int *labels, int ways, int most)
{
    for (int norm = 0; norm < AM_NORMS; norm++) {
        m->measured = 0.0f;
        for (int i = 0; i < ways; i++) {
            const int pictures = (int)m->taught.pictures[labels[i]];
            for (int n = 0; n < pictures; n++) {
                m->times = (float)((most - n + pictures - 1) / pictures);
                am_pixels(m->taught.picture[labels[i]][n], AUTOMETA_PICTURE_BYTES, m->arena + AM_PICTURE);
                am_forward(m, 1, norm, m->features);
            }
        }
    }
}
