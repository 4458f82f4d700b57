/* An emulated board (mps2-an386, mps2-an500, mps2-an505): vectors, start, output by semihosting, instructions from the
 * system timer, which under `-icount shift=0` counts one for every 40 of them. */
#include "board.h"

extern uint32_t stack_low, stack_top, data_load, data_start, data_end, bss_start, bss_end;
int main(void);
void board_stack_top(void); /* no function: where the stack begins */
void board_reset(void);
static void fault(void);

__attribute__((section(".vectors"), used)) static void (*const vectors[16])(void) = {
    board_stack_top, board_reset, fault, fault, fault, fault, fault, 0, 0, 0, 0, fault, 0, 0, fault, fault};

#define PAINT 0xa5a5a5a5u
static volatile uint32_t *const TIMER = (volatile uint32_t *)0xe000e010u;

static int host(int operation, const void *argument)
{
    register int r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
    return r0;
}

static void leave(int code)
{
    const uint32_t why[2] = {0x20026u, (uint32_t)code};
    for (;;)
        host(0x20, why); /* exit */
}

static void fault(void)
{
    host(0x04, "fault\n");
    leave(99);
}

void board_reset(void)
{
    uint32_t *from = &data_load, *to = &data_start;
    *(volatile uint32_t *)0xe000ed88u |= 0xfu << 20; /* the floating point unit */
    __asm__ volatile("dsb\n isb");
    while (to < &data_end)
        *to++ = *from++;
    for (to = &bss_start; to < &bss_end; to++)
        *to = 0;
    for (to = &stack_low; to < (uint32_t *)__builtin_frame_address(0) - 16; to++)
        *to = PAINT;
    TIMER[1] = 0xffffffu;
    TIMER[2] = 0;
    TIMER[0] = 5;
    leave(main());
}

void board_number(const char *name, uint32_t value)
{
    char digits[12];
    char *at = digits + sizeof digits - 1;
    *at = 0;
    *--at = '\n';
    do
        *--at = (char)('0' + value % 10);
    while (value /= 10);
    host(0x04, name);
    host(0x04, " ");
    host(0x04, at);
}

uint32_t board_instructions(void)
{
    return (0xffffffu - TIMER[2]) * 40u;
}

uint32_t board_stack(void)
{
    const uint32_t *at = &stack_low;
    while (at < &stack_top && *at == PAINT)
        at++;
    return (uint32_t)((const char *)&stack_top - (const char *)at);
}
