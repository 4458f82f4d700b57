"""Programs in C around an export."""

FEATURES = """
#include "autometa.h"
#include "network.h"
#include <stdio.h>

static autometa m;

int main(void)
{
    static uint8_t picture[AUTOMETA_PICTURE_BYTES];
    static float found[AUTOMETA_FEATURES];
    while (fread(picture, sizeof picture, 1, stdin) == 1) {
        am_features(picture, m.arena, found);
        if (fwrite(found, sizeof found, 1, stdout) != 1)
            return 1;
    }
    return 0;
}
"""

# The example's board on a computer.
HOST_BOARD = """
#include "board.h"
#include <stdio.h>

void board_number(const char *name, uint32_t value)
{
    printf("%s %lu\\n", name, (unsigned long)value);
}

uint32_t board_instructions(void)
{
    return 0;
}

uint32_t board_stack(void)
{
    return 0;
}
"""

# Everything that may come in and should not.
HOSTILE = """
#include "autometa.h"
#include <stdio.h>
#include <stdlib.h>

#define CHECK(what) do { if (!(what)) { printf("line %d: %s\\n", __LINE__, #what); return 1; } } while (0)

static autometa m, other;
static uint8_t picture[AUTOMETA_PICTURE_BYTES], damaged[AUTOMETA_STATE_BYTES + 1];

/* Bytes whose checksum is right. */
static void sign(uint8_t *bytes)
{
    uint32_t crc = 0xffffffffu;
    for (size_t i = 0; i < AUTOMETA_STATE_BYTES - 4; i++) {
        crc ^= bytes[i];
        for (int bit = 0; bit < 8; bit++)
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
    }
    crc = ~crc;
    memcpy(bytes + AUTOMETA_STATE_BYTES - 4, &crc, 4);
}

int main(void)
{
    uint8_t *state = malloc(AUTOMETA_STATE_BYTES); /* so that a sanitizer sees its end */
    float found[AUTOMETA_CLASSES];
    CHECK(state);
    srand(1);
    CHECK(autometa_init(NULL) == AUTOMETA_NO_POINTER && autometa_init(&m) == AUTOMETA_OK);
    CHECK(autometa_predict(&m, picture, found) == AUTOMETA_NOT_LEARNED);
    CHECK(autometa_learn(&m) == AUTOMETA_NOT_TAUGHT);
    CHECK(autometa_teach(&m, picture, 0) == AUTOMETA_BAD_LABEL);
    for (int k = 0; k < AUTOMETA_CLASSES; k++)
        CHECK(autometa_add_class(&m) == k);
    CHECK(autometa_add_class(&m) == AUTOMETA_FULL);
    for (int label = -3; label < AUTOMETA_CLASSES + 3; label++)
        if (label < 0 || label >= AUTOMETA_CLASSES) {
            CHECK(autometa_teach(&m, picture, label) == AUTOMETA_BAD_LABEL);
            CHECK(autometa_forget_class(&m, label) == AUTOMETA_BAD_LABEL);
        }
    CHECK(autometa_teach(&m, NULL, 0) == AUTOMETA_NO_POINTER);
    CHECK(autometa_teach(&m, picture, 0) == AUTOMETA_OK);
    CHECK(autometa_learn(&m) == AUTOMETA_NOT_TAUGHT); /* other classes have no picture */
    for (int k = 2; k < AUTOMETA_CLASSES; k++)
        CHECK(autometa_forget_class(&m, k) == AUTOMETA_OK);
    memset(picture, 200, sizeof picture / 2);
    CHECK(autometa_teach(&m, picture, 1) == AUTOMETA_OK);
    CHECK(autometa_predict(&m, picture, found) == AUTOMETA_NOT_LEARNED);
    CHECK(autometa_learn(&m) == AUTOMETA_OK);
    CHECK(autometa_predict(&m, NULL, found) == AUTOMETA_NO_POINTER);
    CHECK(autometa_predict(&m, picture, NULL) == 1);
    CHECK(autometa_save(&m, state, AUTOMETA_STATE_BYTES - 1) == AUTOMETA_NO_POINTER);
    CHECK(autometa_save(&m, state, AUTOMETA_STATE_BYTES) == AUTOMETA_OK);
    CHECK(autometa_restore(&other, state, AUTOMETA_STATE_BYTES) == AUTOMETA_OK);
    CHECK(autometa_predict(&other, picture, found) == 1 && !memcmp(&m.taught, &other.taught, sizeof m.taught));

    memcpy(damaged, state, AUTOMETA_STATE_BYTES);
    CHECK(autometa_restore(&other, damaged, AUTOMETA_STATE_BYTES + 1) == AUTOMETA_BAD_STATE);
    for (size_t size = 0; size < AUTOMETA_STATE_BYTES; size = size < 64 ? size + 1 : size + 97) {
        uint8_t *part = malloc(size + 1);
        CHECK(part);
        memcpy(part, state, size);
        CHECK(autometa_restore(&other, part, size) == AUTOMETA_BAD_STATE);
        CHECK(autometa_predict(&other, picture, found) == AUTOMETA_NOT_LEARNED);
        free(part);
    }
    for (int i = 0; i < 300; i++) { /* one byte is another */
        const size_t at = (size_t)rand() % AUTOMETA_STATE_BYTES;
        memcpy(damaged, state, AUTOMETA_STATE_BYTES);
        damaged[at] = (uint8_t)(damaged[at] ^ (1 + rand() % 255));
        CHECK(autometa_restore(&other, damaged, AUTOMETA_STATE_BYTES) == AUTOMETA_BAD_STATE);
    }
    for (int i = 0; i < 300; i++) { /* numbers are others, and the checksum is right: refused, or of use */
        memcpy(damaged, state, AUTOMETA_STATE_BYTES);
        for (int k = 0; k < 3; k++) {
            const size_t room = sizeof m.taught - 4;
            const size_t at = 16 + (i % 2 ? (size_t)rand() % 200 : (size_t)rand()) % room;
            const uint32_t value = (uint32_t)rand() % 4 ? (uint32_t)rand() * 7u : 0x7fc00000u;
            memcpy(damaged + at, &value, 4);
        }
        sign(damaged);
        if (autometa_restore(&other, damaged, AUTOMETA_STATE_BYTES) == AUTOMETA_OK) {
            autometa_predict(&other, picture, found);
            autometa_add_class(&other);
            autometa_teach(&other, picture, 0);
            autometa_learn(&other);
            autometa_forget_class(&other, 1);
        } else
            CHECK(autometa_predict(&other, picture, found) == AUTOMETA_NOT_LEARNED);
    }
    free(state);
    return 0;
}
"""

MEMORY = """
#include <stdio.h>
#include "autometa.h"

int main(void) {
    printf("%lu", (unsigned long)AUTOMETA_RAM_BYTES);
    return 0;
}
"""
