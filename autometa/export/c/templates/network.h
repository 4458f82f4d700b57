/* The network: a picture becomes features. */
#ifndef AUTOMETA_NETWORK_H
#define AUTOMETA_NETWORK_H

#include <stdint.h>

/* picture: uint8_t[AUTOMETA_PICTURE_BYTES]; arena: AUTOMETA_ARENA values; features: AUTOMETA_FEATURES */
void am_features(const uint8_t *picture, @VALUE@ *arena, float *features);

#endif
