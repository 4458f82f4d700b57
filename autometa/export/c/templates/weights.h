/* Weights of the network, normalisation multiplied in. */
#ifndef AUTOMETA_WEIGHTS_H
#define AUTOMETA_WEIGHTS_H

#include <stdint.h>

@DECLARED@

#endif
