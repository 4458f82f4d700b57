/* Self-test: is taught one picture of each of two classes and asked about a third picture.  Returns 0 where the answers
 * are those of the computer that wrote this.  Build: cc -std=c99 -O2 *.c -lm && ./a.out */
#include "autometa.h"

#include <math.h>
#include <stdio.h>

static const uint8_t pictures[3][AUTOMETA_PICTURE_BYTES] = {
@PICTURES@
};
static const float expected[2] = {@EXPECTED@};

static autometa m;
static uint8_t state[AUTOMETA_STATE_BYTES];

int main(void)
{
    float found[AUTOMETA_CLASSES];
    int first, second, answer, wrong = 0;
    autometa_init(&m);
    first = autometa_add_class(&m);
    second = autometa_add_class(&m);
    wrong |= autometa_teach(&m, pictures[0], first) != AUTOMETA_OK;
    wrong |= autometa_teach(&m, pictures[1], second) != AUTOMETA_OK;
    wrong |= autometa_learn(&m) != AUTOMETA_OK;
    wrong |= autometa_save(&m, state, sizeof state) != AUTOMETA_OK;
    wrong |= autometa_restore(&m, state, sizeof state) != AUTOMETA_OK;
    answer = autometa_predict(&m, pictures[2], found);
    wrong |= answer < AUTOMETA_NONE;
    printf("found    %.6f %.6f\nexpected %.6f %.6f\n", (double)found[first], (double)found[second],
           (double)expected[0], (double)expected[1]);
    wrong |= fabsf(found[first] - expected[0]) > @TOLERANCE@f || fabsf(found[second] - expected[1]) > @TOLERANCE@f;
    printf("%s; %lu bytes of RAM\n", wrong ? "WRONG" : "as expected", (unsigned long)sizeof m);
    return wrong;
}
