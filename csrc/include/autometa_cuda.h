// Entry points of the CUDA module: device pointers, 64-bit sizes, and the stream to launch on. They allocate nothing and
// wait for nothing, and each is one launch, so all of them can be captured in a CUDA graph. A launch that fails raises
// std::runtime_error.
// Tables are not checked, that would need a look at the device's memory; see arena_columns.h for what happens to
// indices out of range.
#pragma once

#include <cstdint>

#include "arena.h"

struct CUstream_st;

namespace autometa {
namespace cuda {

using Stream = CUstream_st*;

template <class T>
void adam(T* phi, const T* grad, T* second, T* first, int64_t* steps, const double* lr, const double* weight_decay,
          const Arena& arena, AdamConstants constants, Stream stream);

template <class T>
void sgd(T* phi, const T* grad, T* velocity, const double* lr, const double* weight_decay, const Arena& arena,
         double momentum, Stream stream);

template <class T>
void reptile(T* theta, const T* phi, const double* step_size, const bool* finite, const Arena& arena, Stream stream);

// Doubles that `partial` must have room for.
template <class T>
int64_t clip_grad_scratch(int64_t slots, int64_t row, int64_t kinds);
template <class T>
void clip_grad(T* grad, T* norms, const double* max_norm, double* partial, const Arena& arena, Stream stream);

template <class T>
void finite_slots(const T* phi, bool* finite, int64_t slots, int64_t row, Stream stream);

void sample_tasks(const int64_t* class_start, int64_t all_classes, const int64_t* classes, int64_t selectable,
                  const int64_t* group_start, int64_t groups, const int64_t* task_ids, int64_t tasks,
                  TaskShape shape, uint32_t seed, int64_t* image, int64_t* rotation, int64_t* chosen, Stream stream);

void batch_indices(const int64_t* task_ids, int64_t tasks, BatchShape shape, bool passes, uint32_t seed,
                   int64_t* index, Stream stream);

template <class T>
void drop_masks(const int64_t* task_ids, int64_t tasks, const bool* exempt, MaskShape shape, uint32_t seed, T* mask,
                Stream stream);

void gather_images(const uint8_t* images, ImageShape shape, const int64_t* index, const int64_t* rotation,
                   int64_t picks, const float* scale, const float* shift, float* out, Stream stream);

void augment_images(const float* images, AugmentShape shape, const int64_t* task_ids, const int64_t* place,
                    const AugmentRanges& most, uint32_t seed, float* out, Stream stream);

// The CUDA runtime that was linked, e.g. 13000.
int runtime_version();

// The newest CUDA that the installed driver knows, 0 without one.
int driver_version();

}  // namespace cuda
}  // namespace autometa
