/* Is taught the digits of a meter from a few pictures of each, and reads all other pictures. */
#include "autometa.h"
#include "board.h"
#include "pictures.h" /* pictures[COUNT] and the digit[COUNT] that each one shows; the first TAUGHT are to learn from */

static autometa m; /* all memory that learning needs */

int main(void)
{
    int label_of[10], digit_of[AUTOMETA_CLASSES], right = 0;
    uint32_t begin, instructions = 0;
    autometa_init(&m);
    for (int d = 0; d < 10; d++)
        label_of[d] = -1;
    for (int i = 0; i < TAUGHT; i++) {
        if (label_of[digit[i]] < 0) {
            const int label = autometa_add_class(&m);
            if (label < 0)
                return 1;
            label_of[digit[i]] = label;
            digit_of[label] = digit[i];
        }
        if (autometa_teach(&m, pictures[i], label_of[digit[i]]) != AUTOMETA_OK)
            return 2;
    }
    if (autometa_learn(&m) != AUTOMETA_OK)
        return 3;
    for (int i = TAUGHT; i < COUNT; i++) {
        begin = board_instructions();
        const int answer = autometa_predict(&m, pictures[i], NULL);
        instructions = board_instructions() - begin;
        right += answer >= 0 && digit_of[answer] == digit[i];
    }
    board_number("right", (uint32_t)right);
    board_number("asked", COUNT - TAUGHT);
    board_number("instructions", instructions);
    board_number("ram", (uint32_t)sizeof m);
    board_number("stack", board_stack());
    return 0;
}
