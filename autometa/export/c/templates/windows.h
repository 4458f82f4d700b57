/* Which part of a kernel or window lies inside a map. */
#ifndef AUTOMETA_WINDOWS_H
#define AUTOMETA_WINDOWS_H

/* The taps first .. *stop - 1 of a kernel that meet the map, whose tap 0 lies at `at`. */
static inline int am_taps(int at, int kernel, int dilation, int size, int *stop)
{
    int first = 0, end = kernel;
    while (first < kernel && at + first * dilation < 0)
        first++;
    while (end > first && at + (end - 1) * dilation >= size)
        end--;
    *stop = end;
    return first;
}

/* First and last + 1 of a window inside the map. */
static inline int am_window(int out, int kernel, int stride, int padding, int size, int *stop)
{
    const int first = out * stride - padding;
    *stop = first + kernel < size ? first + kernel : size;
    return first > 0 ? first : 0;
}

#endif
