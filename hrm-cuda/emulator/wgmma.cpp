// See wgmma.h. Layouts are those of the PTX manual; tensor cores add in an order of their own, here k ascends.
#include "wgmma.h"

#include <algorithm>
#include <array>
#include <memory>

#include "cluster.h"
#include "machine.h"

namespace emulator {
namespace {

constexpr int ROWS = 64, DEPTH = 16, MAX_COLUMNS = 256;

float low(uint32_t pair) {
    pair <<= 16;
    float x;
    std::memcpy(&x, &pair, sizeof x);
    return x;
}
float high(uint32_t pair) { return low(pair >> 16); }

// Row and column of value i of an accumulator in thread t.
int row_of(int t, int i) { return t / WARP * 16 + t % WARP / 4 + i / 2 % 2 * 8; }
int column_of(int t, int i) { return i / 4 * 8 + t % 4 * 2 + i % 2; }

// The tile's first address, of a descriptor of rows of 128 bytes in the swizzle of 128 bytes, groups of 8 rows 1024 apart.
uint32_t described(uint64_t descriptor, const char* operand) {
    constexpr uint64_t REST = ~uint64_t(0x3fff) & ~(uint64_t(0x3fff) << 16);
    if ((descriptor & REST) != (uint64_t(1024 >> 4) << 32 | uint64_t(1) << 62))
        fault("wgmma: the descriptor of %s, %#llx, is of another layout", operand, (unsigned long long)descriptor);
    return uint32_t(descriptor & 0x3fff) << 4;
}

// Hashes what it is shown.
struct Hash {
    uint64_t value = 0xcbf29ce484222325;
    void operator()(uint64_t word) { value = (value ^ word) * 0x9e3779b97f4a7c15, value ^= value >> 29; }
};

// An operand in shared memory: `rows` rows of `chunks` times 8 elements, in the swizzle of 128 bytes.
struct Tile {
    uint32_t first;
    int rows, chunks;
    const char* name;

    Tile(uint64_t descriptor, int rows, int chunks, const char* name)
        : first(described(descriptor, name)), rows(rows), chunks(chunks), name(name) {
        if (first & 0x380) fault("%s begins at %#x, not in the first of 8 rows", name, first);
        if (chunks == 8 && first & 0x7f) fault("%s begins at %#x, not where a row does", name, first);
    }

    template <class What>
    void each_chunk(What what) const {
        for (int row = 0; row < rows; row++)
            for (int chunk = 0; chunk < chunks; chunk++) {
                uint64_t words[2];
                const void* const at = shared_bytes(swizzled(first + row * 128 + chunk * 16), sizeof words, 16, name);
                std::memcpy(words, at, sizeof words);
                what(row, chunk, words);
            }
    }
    uint64_t hash() const {
        Hash hash;
        each_chunk([&](int, int, const uint64_t (&words)[2]) { hash(words[0]), hash(words[1]); });
        return hash.value;
    }
    // what(row, column, element)
    template <class What>
    void each_element(What what) const {
        each_chunk([&](int row, int chunk, const uint64_t (&words)[2]) {
            for (int i = 0; i < 8; i++) what(row, 8 * chunk + i, low(uint32_t(words[i / 4] >> i % 4 * 16)));
        });
    }
};

Tile tile_a(const Product& product) { return {product.a, ROWS, DEPTH / 8, "wgmma's A"}; }
Tile tile_b(const Product& product) {
    const int columns = product.columns;
    return product.transposed ? Tile(product.b, DEPTH, columns / 8, "wgmma's B")
                              : Tile(product.b, columns, DEPTH / 8, "wgmma's B");
}

uint64_t hash_of_fragment(const uint32_t* fragment) {
    Hash hash;
    for (int i = 0; i < 4; i++) hash(fragment[i]);
    return hash.value;
}
// Of what one thread of the warpgroup can see.
uint64_t hash_of_tiles(const Product& product) {
    return (product.fragment ? 0 : tile_a(product).hash()) + 3 * tile_b(product).hash();
}

using Sums = std::array<std::array<float, MAX_COLUMNS>, ROWS>;

// One product for all threads of a warpgroup.
struct Step {
    float a[ROWS][DEPTH];
    alignas(32) float b[DEPTH][MAX_COLUMNS];

    void read(const Thread* threads, size_t number) {
        const Product& product = threads[0].products.waiting[number];
        if (product.fragment) {
            for (int t = 0; t < WARPGROUP_THREADS; t++)
                for (int r = 0; r < 4; r++) {
                    const uint32_t pair = threads[t].products.waiting[number].fragment[r];
                    const int i = t / WARP * 16 + t % WARP / 4 + r % 2 * 8, k = t % 4 * 2 + r / 2 * 8;
                    a[i][k] = low(pair), a[i][k + 1] = high(pair);
                }
        } else {
            tile_a(product).each_element([&](int i, int k, float x) { a[i][k] = x; });
        }
        if (product.transposed)
            tile_b(product).each_element([&](int k, int j, float x) { b[k][j] = x; });
        else
            tile_b(product).each_element([&](int j, int k, float x) { b[k][j] = x; });
    }

    template <int COLUMNS>
    void add_to(Sums& d) const {
        typedef float Lanes __attribute__((vector_size(16)));
        constexpr int WIDTH = COLUMNS % 32 == 0 ? 32 : COLUMNS % 16 == 0 ? 16 : 8, PARTS = WIDTH / 4;
        for (int i = 0; i < ROWS; i++)
            for (int j = 0; j < COLUMNS; j += WIDTH) {
                Lanes sum[PARTS], x[PARTS];
                std::memcpy(sum, &d[i][j], sizeof sum);
                for (int k = 0; k < DEPTH; k++) {
                    std::memcpy(x, &b[k][j], sizeof x);
                    for (int part = 0; part < PARTS; part++) sum[part] += a[i][k] * x[part];
                }
                std::memcpy(&d[i][j], sum, sizeof sum);
            }
    }
};

Accumulator* find(Thread& thread, const float* d) {
    for (Accumulator& accumulator : thread.products.accumulators)
        if (accumulator.d == d) return &accumulator;
    return nullptr;
}

// Fails unless all threads of a warpgroup have the same products in `group`. Returns how many.
size_t agree(const Thread* threads, unsigned group) {
    const auto in_group = [&](const Thread& thread) {
        size_t count = 0;
        while (count < thread.products.waiting.size() && thread.products.waiting[count].group == group) count++;
        return count;
    };
    const size_t count = in_group(threads[0]);
    for (int t = 1; t < WARPGROUP_THREADS; t++) {
        const std::deque<Product>& own = threads[t].products.waiting;
        bool same = in_group(threads[t]) == count;
        for (size_t i = 0; same && i < count; i++) {
            const Product &x = threads[0].products.waiting[i], &y = own[i];
            same = !(x.site != y.site) && x.a == y.a && x.b == y.b && x.accumulate == y.accumulate;
        }
        if (!same) fault("divergence: thread %d of a warpgroup has other products than its first in a group of wgmma", t);
    }
    return count;
}

// Fails unless the operands are what they were when they were issued.
void check_unchanged(const Thread* threads, size_t number) {
    const auto product = [&](int t) -> const Product& { return threads[t].products.waiting[number]; };
    bool same = product(0).tiles_seen == hash_of_tiles(product(0));
    for (int t = 0; t < WARPGROUP_THREADS && product(0).fragment; t++)
        same = same && product(t).fragment_seen == hash_of_fragment(product(t).fragment);
    if (!same)
        fault("operands of wgmma changed before their group was waited for: those of %s", place(product(0).site).c_str());
}

// Computes a group that all threads have closed.
void compute(Thread* threads, unsigned group) {
    const size_t count = agree(threads, group);
    std::vector<bool> done(count);
    for (size_t first = 0; first < count; first++) {
        if (done[first]) continue;
        // All products for the same accumulator, in their order.
        const float* const accumulator = threads[0].products.waiting[first].d;
        // Too large for the stack of a fiber.
        const auto sums = std::make_unique<Sums>();
        Sums& d = *sums;
        const auto each = [&](auto what) {
            for (int t = 0; t < WARPGROUP_THREADS; t++) {
                Accumulator& own = *find(threads[t], threads[t].products.waiting[first].d);
                for (int i = 0; i < own.count; i++) what(own.values[i], d[row_of(t, i)][column_of(t, i)]);
            }
        };
        each([](float own, float& all) { all = own; });
        for (size_t number = first; number < count; number++) {
            const Product& product = threads[0].products.waiting[number];
            if (product.d != accumulator) continue;
            done[number] = true;
            check_unchanged(threads, number);
            if (!product.accumulate) d = {};
            Step step;
            step.read(threads, number);
            product.columns == 256   ? step.add_to<256>(d)
            : product.columns == 128 ? step.add_to<128>(d)
            : product.columns == 104 ? step.add_to<104>(d)
            : product.columns == 64  ? step.add_to<64>(d)
                                     : step.add_to<16>(d);
        }
        each([](float& own, float all) { own = all; });
    }
    for (int t = 0; t < WARPGROUP_THREADS; t++) {
        std::deque<Product>& waiting = threads[t].products.waiting;
        waiting.erase(waiting.begin(), waiting.begin() + count);
    }
}

// The running thread's warpgroup, and the first of its threads.
Warpgroup& warpgroup(Thread*& first) {
    Worker& own = *worker;
    if (own.per_block % WARPGROUP_THREADS != 0) fault("wgmma in a block of %d threads, no whole warpgroups", own.per_block);
    const int number = int(own.running - own.threads.data()) / WARPGROUP_THREADS;
    first = &own.threads[number * WARPGROUP_THREADS];
    return own.warpgroups[number];
}

}  // namespace

void multiply(Product product) {
    Thread& thread = *worker->running;
    const int count = product.columns / 2;
    product.group = thread.products.groups;
    if (product.fragment) product.fragment_seen = hash_of_fragment(product.fragment);
    thread.products.waiting.push_back(product);
    Accumulator* accumulator = find(thread, product.d);
    if (!accumulator) {
        thread.products.accumulators.push_back({product.d, count, 0, {}});
        accumulator = &thread.products.accumulators.back();
        std::memcpy(accumulator->values, product.d, sizeof(float) * count);
        std::memset(product.d, POISON, sizeof(float) * count);
    }
    accumulator->group = product.group;
}

void close_group() {
    Thread* first;
    Warpgroup& own = warpgroup(first);
    const unsigned group = worker->running->products.groups++ - own.computed;
    if (own.closed.size() <= group) own.closed.resize(group + 1);
    if (++own.closed[group] < WARPGROUP_THREADS) return;
    for (Product& product : first->products.waiting)
        if (product.group == own.computed + group) product.tiles_seen = hash_of_tiles(product);
}

void wait_for_groups(unsigned left) {
    Thread* first;
    Warpgroup& own = warpgroup(first);
    Products& products = worker->running->products;
    const unsigned finished = products.groups > left ? products.groups - left : 0;
    while (own.computed < finished) {
        if (!own.due) {
            worker->park(Thread::State::AtProducts);
            continue;
        }
        own.due = false;
        compute(first, own.computed);
        own.computed++;
        own.closed.pop_front();
        for (int t = 0; t < WARPGROUP_THREADS; t++)
            if (first[t].state == Thread::State::AtProducts) first[t].state = Thread::State::Ready;
    }
    auto& under_way = products.accumulators;
    for (const Accumulator& accumulator : under_way) {
        if (accumulator.group >= finished) continue;
        const auto* bytes = reinterpret_cast<const unsigned char*>(accumulator.d);
        const size_t size = sizeof(float) * accumulator.count;
        if (std::any_of(bytes, bytes + size, [](unsigned char byte) { return byte != POISON; }))
            fault("an accumulator of wgmma was written to before its group was waited for");
        std::memcpy(accumulator.d, accumulator.values, size);
    }
    const auto delivered = [&](const Accumulator& accumulator) { return accumulator.group < finished; };
    under_way.erase(std::remove_if(under_way.begin(), under_way.end(), delivered), under_way.end());
}

bool Worker::multiply() {
    for (size_t number = 0; number < warpgroups.size(); number++) {
        Warpgroup& own = warpgroups[number];
        if (own.closed.empty() || own.closed.front() < WARPGROUP_THREADS) continue;
        for (int t = 0; t < WARPGROUP_THREADS; t++) {
            Thread& thread = threads[number * WARPGROUP_THREADS + t];
            if (thread.state != Thread::State::AtProducts) continue;
            thread.state = Thread::State::Ready;
            return own.due = true;
        }
    }
    return false;
}

}  // namespace emulator
