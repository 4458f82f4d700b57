/* What a board offers to the example. */
#ifndef BOARD_H
#define BOARD_H

#include <stdint.h>

void board_number(const char *name, uint32_t value); /* print a line */
uint32_t board_instructions(void);                   /* instructions so far, in steps of 40 */
uint32_t board_stack(void);                          /* bytes of stack that were ever used */

#endif
