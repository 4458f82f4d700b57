// The compiled core's entry points: pointers and 64-bit sizes in, results in place.
// Bad tables raise std::invalid_argument. `threads` is an upper limit; small problems use one.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "activation.h"
#include "arena.h"

namespace autometa {

// T is float or double. first may be null (beta1 must then be 0).
template <class T>
void adam(T* phi, const T* grad, T* second, T* first, int64_t* steps, const double* lr, const double* weight_decay,
          const Arena& arena, AdamConstants constants, int threads);

// velocity may be null (momentum must then be 0).
template <class T>
void sgd(T* phi, const T* grad, T* velocity, const double* lr, const double* weight_decay, const Arena& arena,
         double momentum, int threads);

template <class T>
void reptile(T* theta, const T* phi, const double* step_size, const bool* finite, const Arena& arena, int threads);

template <class T>
void clip_grad(T* grad, T* norms, const double* max_norm, const Arena& arena, int threads);

template <class T>
void finite_slots(const T* phi, bool* finite, int64_t slots, int64_t row, int threads);

// What draws numbers uses one thread, however many there are.
// group_start [groups + 1] in classes [selectable]; image [tasks, ways, shots + queries], rotation and chosen
// [tasks, ways].
void sample_tasks(const int64_t* class_start, int64_t all_classes, const int64_t* classes, int64_t selectable,
                  const int64_t* group_start, int64_t groups, const int64_t* task_ids, int64_t tasks,
                  TaskShape shape, uint32_t seed, int64_t* image, int64_t* rotation, int64_t* chosen, int threads = 1);

// index [tasks, steps, batch].
void batch_indices(const int64_t* task_ids, int64_t tasks, BatchShape shape, bool passes, uint32_t seed,
                   int64_t* index, int threads = 1);

// out [picks, channels, height, width]; rotation in quarter turns counter-clockwise, any integer.
void gather_images(const uint8_t* images, ImageShape shape, const int64_t* index, const int64_t* rotation,
                   int64_t picks, const float* scale, const float* shift, float* out, int threads);

// images, out [tasks, picks, channels, height, width], not the same memory; place [tasks, picks]: of an image in its task.
void augment_images(const float* images, AugmentShape shape, const int64_t* task_ids, const int64_t* place,
                    const AugmentRanges& most, uint32_t seed, float* out, int threads);

// images, out [count, height, width], grey; ink 255 on paper 0.
void read_ink(const uint8_t* images, int64_t count, int64_t height, int64_t width, uint8_t* out, int threads);

// mask [tasks, images, instances] of T, the draws of stream kDropPath; instances with exempt != 0 get 1.
template <class T>
void drop_masks(const int64_t* task_ids, int64_t tasks, const bool* exempt, MaskShape shape, uint32_t seed, T* mask,
                int threads = 1);

struct HeadShape {
    int64_t slots, batch, classes, row;  // row: floats from one slot's parameters to the next's
    bool flatten;
    // As for Preprocess, in features.
    int64_t tables = 0;
    const int64_t *table = nullptr, *table_of_slot = nullptr;
};

// features [slots, batch, features of all states] and logits [slots, batch, classes] are written; the first serve the backward.
void linear_head(const std::vector<Activation>& states, const float* params, const HeadShape& shape, float* features,
                 float* logits, int threads);

// grad_params [slots, grad_width], its rows grad_row apart, and grads, the states' gradients, are overwritten.
void linear_head_backward(const float* grad, const float* features, const float* params, const HeadShape& shape,
                          float* grad_params, int64_t grad_row, int64_t grad_width,
                          const std::vector<Activation>& grads, int threads);

struct LogitShape {
    int64_t slots, batch, classes;
};

// losses [slots]: means over the batch.
void cross_entropy(const float* logits, const int64_t* labels, const LogitShape& shape, float* losses, int threads);

void cross_entropy_backward(const float* grad, const float* logits, const int64_t* labels, const LogitShape& shape,
                            float* grad_logits, int threads);

// Where an op leaves the gradient of an input state, an activation; data null: nobody reads it.
struct StateGradient {
    float* data;
    bool add;  // to what stands there
};

// The mixed node op, float32. Activations are [slots, batch, height, width, lanes] with the channels padded to 8 or to
// a multiple of 16; tables as the package's mixed_op describes them. Optional pointers may be null.
struct Node {
    int64_t slots, batch, channels, states, instances, edges, tables;
    const int64_t* sizes;        // [states, 2]: height, width
    const float* const* state;   // [states]
    const float* params;         // [slots], rows `params_row` apart
    int64_t params_row, params_width;
    const float *op_weight, *input_weight;       // [slots, instances], [slots, edges]
    const int64_t *table, *table_of_slot;        // [tables, instances, 5], [slots] or null
    const float *drop, *given;                   // [slots, batch, instances], [slots, instances, 2, 2, channels] or null
    bool affine;
    double eps;
    int threads;
};

// Floats that mixed_op keeps for its backward. Throws std::invalid_argument for tables that do not fit.
int64_t mixed_op_saved(const Node& node);
// saved may be null: nothing is kept. statistics [slots, instances, 2, 2, channels] or null.
void mixed_op(const Node& node, float* y, float* saved, float* statistics);
// dstate [states]; dparams [slots, params_width], dop, dinput like the weights are overwritten.
void mixed_op_backward(const Node& node, const float* saved, const float* gy, const StateGradient* dstate,
                       float* dparams, float* dop, float* dinput);

// Cell preprocessing, float32: ReLU, 1x1 convolution or factorised reduction, BN. All states have `depth` channels.
struct Preprocess {
    int64_t slots, batch, states, depth, height, width, channels;
    const float* const* state;
    const float* params;  // [slots], rows `params_row` apart
    int64_t params_row, params_width;
    const float* given;   // [slots, 2, channels] or null
    bool reduce, affine;
    double eps;
    int threads;
    // Where slots differ, else null: [tables, states] first of the slot's input channels that a state provides, -1 for
    // a state that is not read; [slots]. The slot's input channels are those of the states it reads, and no others; a
    // slot that reads none has no parameters, y 0 and gradients 0.
    int64_t tables = 0;
    const int64_t *table = nullptr, *table_of_slot = nullptr;
};

// As for mixed_op; statistics [slots, 2, channels] or null. The backward reads y, which tells the convolution's result
// unless gamma is tiny beside beta: then that is computed again.
int64_t preprocess_saved(const Preprocess& args);
void preprocess(const Preprocess& args, float* y, float* saved, float* statistics);
void preprocess_backward(const Preprocess& args, const float* saved, const float* y, const float* gy,
                         const StateGradient* dstate, float* dparams);

// A convolution with its surroundings, float32: conv (+ bias) -> normalisation -> max pool 2x2 -> ReLU.
struct ConvBlock {
    int64_t slots, batch, c_in, c_out, height, width;
    int64_t kernel, stride, top, left;  // top and left: padding in front
    int64_t conv_height, conv_width, out_height, out_width;  // before and after the pool
    const float* x;       // [slots, batch, c_in, height, width]
    int64_t x_step[5];    // its strides
    const float* params;  // [slots], rows `params_row` apart: weight, bias, gamma, beta, each at a multiple of 16
    int64_t params_row, params_width;
    int64_t grad_row;    // distance of the rows of their gradients
    const float* given;  // [slots, 2, c_out] or null
    bool bias, norm, relu, pool;
    double eps;
    int threads;
    // ReLU and pool decide as they do in another evaluation of the same block: what that kept, and its parameters.
    const float* gate_saved = nullptr;
    const float* gate_params = nullptr;
    int64_t gate_row = 0;  // distance of its rows
};

// Floats that conv_block keeps for its backward. Throws std::invalid_argument for sizes that do not fit.
int64_t conv_block_saved(const ConvBlock& block);
// y is an activation; saved may be null: nothing is kept. statistics [slots, 2, c_out] or null.
void conv_block(const ConvBlock& block, float* y, float* saved, float* statistics);
// dx is an activation or null; dparams [slots, params_width], its rows grad_row apart; both are overwritten.
// y: as for preprocess, of a block with normalisation but neither ReLU nor pool; else not read.
void conv_block_backward(const ConvBlock& block, const float* saved, const float* y, const float* gy, float* dx,
                         float* dparams);

// Conv blocks, each on the output of the one before, and the linear head on that of the last. A slot's parameters stand
// in one row: those of the blocks in their order, then weight and bias of the head, each at a multiple of 16.
class ConvStack {
public:
    // Of the blocks only sizes and flags count. Throws std::invalid_argument for what does not fit.
    ConvStack(const std::vector<ConvBlock>& blocks, int64_t classes, bool flatten);
    ~ConvStack();
    ConvStack(const ConvStack&) = delete;
    ConvStack& operator=(const ConvStack&) = delete;

    class Plan;
    struct Input {
        const float* x;  // [slots, batch, c_in, height, width]
        int64_t x_step[5];
        const float* params;  // [slots, params_width], rows `params_row` apart
        int64_t params_row, params_width;
        int threads;
        // As of ConvBlock: what another evaluation of the same stack kept, and its parameters.
        const float* gate_saved = nullptr;
        const float* gate_params = nullptr;
        int64_t gate_row = 0;
    };
    int64_t images() const;   // of all slots
    int64_t columns() const;  // that params_width must have at least
    int64_t saved() const;    // floats that forward keeps for backward
    // logits [slots, batch, classes]; saved may be null: nothing is kept.
    void forward(const Input& input, float* saved, float* logits) const;
    // dx is an activation or null; dparams [slots, params_width]; both are overwritten.
    void backward(const Input& input, const float* saved, const float* grad, float* dx, float* dparams) const;

private:
    std::unique_ptr<const Plan> plan_;
};

// A network of cells with one op per operand, every BN affine, and its cross-entropy: stem, preprocessings and nodes as
// steps, mean over pixels, linear layer. A slot goes through all of it, forward and backward, before the next one does,
// so that what it works on stays near the processor; slots may have different networks.
class CellStack {
public:
    // Parameters stand in columns `column` .. `column + width - 1` of a slot's row. Activation 0 is the stem's, k + 1 that
    // of step k.
    struct Step {
        bool node;  // a node of the mixed op, else a preprocessing
        int64_t column, width, channels;
        bool reduce;                 // of a preprocessing
        std::vector<int64_t> reads;  // activations
        std::vector<int64_t> table;  // of a node: [instances, 5] as mixed_op's, states counted in `reads`
    };
    // stem: slots 1, pointers null. Throws std::invalid_argument for what does not fit.
    CellStack(const ConvBlock& stem, int64_t stem_column, const std::vector<Step>& steps, const Step& head,
              int64_t classes);

    struct Input {
        const float* x;  // [slots, batch, c_in, height, width]
        int64_t x_step[5];
        const int64_t* labels;  // [slots, batch]
        const float* params;    // [slots], rows `params_row` apart
        int64_t params_row;
    };
    int64_t batch() const { return stem_.batch; }
    int64_t classes() const { return classes_; }
    int64_t columns() const { return columns_; }
    int64_t floats() const { return floats_; }  // of memory for a slot
    // Loss and logits [batch, classes] of a slot; dparams, its gradient [dparams_row], or null.
    void run(const Input& input, int64_t slot, float* memory, float* loss, float* logits, float* dparams,
             int64_t dparams_row) const;

private:
    struct Map {
        int64_t channels, height, width, at, gradient;  // places in a slot's memory
    };
    struct Use {
        std::vector<bool> add;  // of each state read: whether a later step has left its gradient there already
        int64_t kept = 0;
    };
    Preprocess preprocessing(const Step& step, const float* params, const std::vector<const float*>& states) const;
    Node node(const Step& step, const float* params, const float* ones, const std::vector<int64_t>& sizes,
              const std::vector<const float*>& states) const;
    void forward(size_t k, const float* params, float* memory, bool keep) const;
    void backward(size_t k, const float* params, float* memory, float* dparams) const;
    std::vector<const float*> states(const Step& step, const float* memory) const;
    std::vector<int64_t> sizes(const Step& step) const;
    std::vector<StateGradient> gradients(const Step& step, const Use& use, float* memory) const;
    std::vector<Activation> head_states(float* memory, bool gradient) const;

    ConvBlock stem_;
    int64_t stem_column_, classes_, columns_ = 0, floats_ = 0;
    std::vector<Step> steps_;
    Step head_;
    std::vector<Map> maps_;
    std::vector<Use> uses_;
    int64_t stem_kept_ = 0, features_ = 0, dlogits_ = 0, ones_ = 0, dweights_ = 0;
};

// All slots; stacks [slots]. losses [slots], logits [slots, batch, classes]; dparams [slots, dparams_row] or null.
void cell_stack(const std::vector<const CellStack*>& stacks, const CellStack::Input& input, float* losses, float* logits,
                float* dparams, int64_t dparams_row, int threads);

// out = the sum of x, added in order; all [images, height, width, lanes] of the shape's sizes.
void sum_activations(const std::vector<const float*>& x, float* out, int64_t images, const Activation& shape,
                     int threads);

// Columns of a matrix, its rows `row` floats apart; null data: zeros.
struct Columns {
    const float* data;
    int64_t row, width;
};

// out [rows, row] = the parts side by side.
void join_columns(const std::vector<Columns>& parts, float* out, int64_t rows, int64_t row, int threads);

}  // namespace autometa
