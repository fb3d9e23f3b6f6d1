// Predictions and losses. Logits are [B, positions, vocab], of which the last seq_len positions count. The losses are
// formed in f64, as the published stablemax is.
#include "common.cuh"

// The position of the largest of `count` values, the first of equals; NaN counts as largest.
template <class T> DEVICE int largest(const T *values, int count) {
    int best = 0;
    float found = to_float(values[0]);
    for (int i = 1; i < count; i++) {
        float value = to_float(values[i]);
        if (value > found || (value != value && found == found)) best = i, found = value;
    }
    return best;
}

// predictions [B, seq_len], one thread for each cell.
template <class T>
DEVICE void argmax(int *predictions, const T *logits, int batch, int seq_len, int positions, int vocab) {
    int b = thread_index() / seq_len, cell = thread_index() % seq_len;
    if (b >= batch) return;
    u64 row = (u64)b * positions + positions - seq_len + cell;
    predictions[thread_index()] = largest(logits + row * vocab, vocab);
}
KERNEL_FOR_EACH_TYPE(argmax, (int *predictions, const T *logits, int batch, int seq_len, int positions, int vocab),
                     (predictions, logits, batch, seq_len, positions, vocab))

// s(x) = x + 1 for x >= 0, 1 / (1 - x) below, and its derivative, which is s(x)^2 there.
DEVICE double stablemax(double x) { return x < 0.0 ? 1.0 / (1.0 - x + 1e-30) : x + 1.0; }
DEVICE double stablemax_slope(double x) { return x < 0.0 ? stablemax(x) * stablemax(x) : 1.0; }

// Loops over the vocabulary are not unrolled: divisions in f64 take more registers than it would save.

// log(sum s) - log s(x[label]); d[i] = scale * s'(x[i]) * (1 / sum - [i = label] / s(x[i])).
template <class T> DEVICE double stablemax_loss(T *d, const T *x, int count, int label, double scale) {
    double sum = 0.0;
#pragma unroll 1
    for (int i = 0; i < count; i++) sum += stablemax(to_float(x[i]));
    double own = stablemax(to_float(x[label])), each = 1.0 / sum, label_too = each - 1.0 / own;
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        double slope = stablemax_slope(to_float(x[i]));
        d[i] = from_float<T>((float)(scale * slope * (i == label ? label_too : each)));
    }
    return log(sum) - log(own);
}

// max + log(sum exp(x - max)) - x[label]; d[i] = scale * (softmax(x)[i] - [i = label]).
template <class T> DEVICE double softmax_loss(T *d, const T *x, int count, int label, double scale) {
    double top = to_float(x[0]), sum = 0.0;
#pragma unroll 1
    for (int i = 1; i < count; i++) top = fmax(top, (double)to_float(x[i]));
#pragma unroll 1
    for (int i = 0; i < count; i++) sum += exp(to_float(x[i]) - top);
#pragma unroll 1
    for (int i = 0; i < count; i++) {
        double p = exp(to_float(x[i]) - top) / sum;
        d[i] = from_float<T>((float)(scale * (i == label ? p - 1.0 : p)));
    }
    return top + log(sum) - to_float(x[label]);
}

// The sum over a block, in all its threads, in the order of a tree. `parts` has THREADS elements.
template <class N> DEVICE N block_sum(N *parts, N mine) {
    parts[threadIdx.x] = mine;
    for (int half = THREADS / 2; half > 0; half /= 2) {
        __syncthreads();
        if ((int)threadIdx.x < half) parts[threadIdx.x] += parts[threadIdx.x + half];
    }
    __syncthreads();
    return parts[0];
}

// loss[b] = (sum of the cells' cross-entropy) / max(1, valid[b]), with its cotangent times `scale`, one block for each
// sequence. dlogits is 0 at the prefix and at ignored cells. A label outside the vocabulary is reported and ignored.
template <class T>
DEVICE void lm_loss(const T *logits, const int *labels, T *dlogits, float *loss, int *valid, int *correct, int seq_len,
                    int positions, int vocab, int softmax, double scale, u64 *fault) {
    SHARED(int, counts, THREADS);
    SHARED(int, hits, THREADS);
    SHARED(double, sums, THREADS);
    int b = blockIdx.x, prefix = (positions - seq_len) * vocab;
    logits += (u64)b * positions * vocab;
    dlogits += (u64)b * positions * vocab;
    labels += (u64)b * seq_len;
    for (int i = threadIdx.x; i < prefix; i += THREADS) dlogits[i] = from_float<T>(0.0f);
    logits += prefix, dlogits += prefix;

    int mine = 0;
    for (int cell = threadIdx.x; cell < seq_len; cell += THREADS) mine += labels[cell] >= 0;
    int count = block_sum(counts, mine);
    double share = 1.0 / max(count, 1), sum = 0.0;
    int right = 0;
    for (int cell = threadIdx.x; cell < seq_len; cell += THREADS) {
        const T *x = logits + (u64)cell * vocab;
        T *d = dlogits + (u64)cell * vocab;
        int label = labels[cell];
        if (label < 0 || !is_row(label, vocab, fault, FAULT_LABEL)) {
            for (int i = 0; i < vocab; i++) d[i] = from_float<T>(0.0f);
            continue;
        }
        sum += softmax ? softmax_loss(d, x, vocab, label, scale * share) : stablemax_loss(d, x, vocab, label, scale * share);
        right += largest(x, vocab) == label;
    }
    right = block_sum(hits, right);
    sum = block_sum(sums, sum);
    if (threadIdx.x == 0) {
        valid[b] = count;
        correct[b] = right;
        loss[b] = (float)(sum * share);
    }
}
KERNEL_FOR_EACH_TYPE(lm_loss,
                     (const T *logits, const int *labels, T *dlogits, float *loss, int *valid, int *correct, int seq_len,
                      int positions, int vocab, int softmax, double scale, u64 *fault),
                     (logits, labels, dlogits, loss, valid, correct, seq_len, positions, vocab, softmax, scale, fault))

DEVICE double sigmoid(double x) { return 1.0 / (1.0 + exp(-x)); }
// Binary cross-entropy of the logit x with the probability `target`.
DEVICE double bce(double x, double target) { return fmax(x, 0.0) - x * target + log1p(exp(-fabs(x))); }
// Weight of the Q losses beside the token loss.
constexpr double Q_LOSS_WEIGHT = 0.5;

// The published rule: halting is right when the answer is; going on is worth sigmoid(next halt) at the last step, and
// sigmoid(max(next halt, next continue)) before it. All [B, 2]; without next_q there is no continue loss.
KERNEL(q_loss)(const float *q, const float *next_q, float *dq, float *losses, const int *steps, const int *valid,
               const int *correct, int batch, int max_steps, double scale) {
    wait_for_launch_before();
    int b = thread_index();
    if (b >= batch) return;
    double halt = q[2 * b], go_on = q[2 * b + 1], solved = correct[b] == valid[b];
    double loss = 0.0, slope = 0.0;
    if (next_q) {
        double next_halt = next_q[2 * b], next_go_on = next_q[2 * b + 1];
        double target = sigmoid(steps[b] >= max_steps ? next_halt : fmax(next_halt, next_go_on));
        loss = bce(go_on, target);
        slope = sigmoid(go_on) - target;
    }
    losses[2 * b] = (float)bce(halt, solved);
    losses[2 * b + 1] = (float)loss;
    dq[2 * b] = (float)(Q_LOSS_WEIGHT * (sigmoid(halt) - solved) * scale);
    dq[2 * b + 1] = (float)(Q_LOSS_WEIGHT * slope * scale);
}
EXPORT_KERNEL(q_loss)
