#define AUTOMETA_ISA avx2
#define AUTOMETA_ISA_NAME "avx2"
#include "table.h"
