/* @TITLE@
 *
 * Learns classes of pictures from a few of each, on the device.  Needs no allocation, operating system or network; all
 * memory is in the structure `autometa`, @RAM@ bytes for @CLASSES@ classes of at most 5 pictures each
 * (AUTOMETA_RAM_BYTES), and at most @STACK@ bytes of stack.
 *
 *     static autometa m;
 *     autometa_init(&m);
 *     int cat = autometa_add_class(&m), dog = autometa_add_class(&m);
 *     autometa_teach(&m, picture, cat);            (as often as there are pictures)
 *     autometa_learn(&m);
 *     int answer = autometa_predict(&m, picture, NULL);
 *
 * Pictures are uint8_t[AUTOMETA_HEIGHT][AUTOMETA_WIDTH][AUTOMETA_CHANNELS], row by row: @RECIPE@.
 */
#ifndef AUTOMETA_H
#define AUTOMETA_H

#include <stdint.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

#define AUTOMETA_HEIGHT @HEIGHT@
#define AUTOMETA_WIDTH @WIDTH@
#define AUTOMETA_CHANNELS @CHANNELS@
#define AUTOMETA_PICTURE_BYTES (AUTOMETA_HEIGHT * AUTOMETA_WIDTH * AUTOMETA_CHANNELS)
#define AUTOMETA_FEATURES @FEATURES@
#define AUTOMETA_MODEL @MODEL@u /* which weights: a state that was saved with others is refused */
#define AUTOMETA_VERSION 1u

/* Classes that can be known at one time.  Set it in the build: -DAUTOMETA_CLASSES=4 */
#ifndef AUTOMETA_CLASSES
#define AUTOMETA_CLASSES @CLASSES@
#endif
@SIZES@
/* Probability of the best class below which the answer is AUTOMETA_NONE; 0: always answer.
 * @THRESHOLD_NOTE@ */
#ifndef AUTOMETA_MIN_PROBABILITY
#define AUTOMETA_MIN_PROBABILITY @THRESHOLD@f
#endif

#define AUTOMETA_ARENA @ARENA@ /* @ARENA_UNIT@ */

enum {
    AUTOMETA_OK = 0,
    AUTOMETA_NONE = -1,        /* the picture shows none of the classes */
    AUTOMETA_BAD_LABEL = -2,   /* no class has this label */
    AUTOMETA_FULL = -3,        /* no room for one more class or picture */
    AUTOMETA_NOT_TAUGHT = -4,  /* fewer than two classes have a picture, or a class has none */
    AUTOMETA_NOT_LEARNED = -5, /* taught something since the last autometa_learn */
    AUTOMETA_BAD_STATE = -6,   /* what shall be restored is damaged, or of another model or build */
    AUTOMETA_NOT_FINITE = -7,  /* numbers left the range of float */
    AUTOMETA_NO_POINTER = -8   /* a pointer is NULL, or a buffer too small */
};

/* What was taught: this is saved and restored. */
typedef struct {
    uint32_t used[AUTOMETA_CLASSES]; /* 1: there is a class of this label */
    uint32_t learned;                /* 1: nothing was taught or forgotten since autometa_learn */
@TAUGHT@
} autometa_taught;

typedef struct {
    autometa_taught taught;
@WORK@
} autometa;

#define AUTOMETA_RAM_BYTES sizeof(autometa)
#define AUTOMETA_STATE_BYTES (sizeof(autometa_taught) + 20) /* what autometa_save writes */
#ifdef AUTOMETA_RAM_LIMIT /* the build fails where memory does not fit: -DAUTOMETA_RAM_LIMIT=65536 */
typedef char autometa_is_larger_than_AUTOMETA_RAM_LIMIT[sizeof(autometa) <= (AUTOMETA_RAM_LIMIT) ? 1 : -1];
#endif

/* All return AUTOMETA_OK or one of the codes above, unless told otherwise. */
int autometa_init(autometa *m);
/* The label of a new class, 0 or more. */
int autometa_add_class(autometa *m);
/* The class and what was taught of it go; the labels of others stay. */
int autometa_forget_class(autometa *m, int label);
/* Look at one picture of a class. The picture is not needed afterwards. */
int autometa_teach(autometa *m, const uint8_t *picture, int label);
/* @LEARN_NOTE@ */
int autometa_learn(autometa *m);
/* The label, AUTOMETA_NONE, or a code. probabilities: AUTOMETA_CLASSES of them, 0 for labels without class; or NULL. */
int autometa_predict(autometa *m, const uint8_t *picture, float *probabilities);
/* Write what was taught, AUTOMETA_STATE_BYTES in the byte order of this device. */
int autometa_save(const autometa *m, uint8_t *bytes, size_t room);
/* Read it back; what does not fit leaves an empty start, as of autometa_init. */
int autometa_restore(autometa *m, const uint8_t *bytes, size_t size);

#ifdef __cplusplus
}
#endif
#endif
