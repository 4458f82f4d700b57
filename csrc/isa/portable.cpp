#define AUTOMETA_ISA portable
#define AUTOMETA_ISA_NAME "portable"
#include "table.h"
