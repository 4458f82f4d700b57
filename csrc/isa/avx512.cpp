#define AUTOMETA_ISA avx512
#define AUTOMETA_ISA_NAME "avx512"
#include "table.h"
