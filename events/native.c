/* What is done once per byte of an event: match, hash, write. Knows no event; the shapes come from events/shapes.py.
 *
 *   match    canonical lines against shapes: where each member stands, and its value; what fits no shape is left out
 *   digest   SHA-256 of lines, of joined members, of Merkle nodes (FIPS 180-4; with the SHA instructions where there are)
 *   check    CRC-32 of frames, where there are instructions for it
 *   render   lines out of literals and columns, the inverse of match
 *
 * All offsets are bytes within `data`; nothing is allocated, nothing is kept, no global is written. Each function is a
 * pure function of its arguments, so that calls may run beside one another.
 */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

/* --- SHA-256 ------------------------------------------------------------------------------------------------------ */

enum { NOWHERE = -1 };

/* Copy bytes; few of them eight at a time, since what is called for as many takes longer. */
static inline void copy(uint8_t *to, const uint8_t *from, int64_t size) {
    if (size > 32) {
        memcpy(to, from, size);
        return;
    }
    if (size >= 8) {
        for (int64_t i = 0; i < size - 8; i += 8) memcpy(to + i, from + i, 8);
        memcpy(to + size - 8, from + size - 8, 8);
        return;
    }
    for (int64_t i = 0; i < size; i++) to[i] = from[i];
}

static const uint32_t FIRST[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                  0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
static const uint32_t ROUND[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotate(uint32_t word, int by) { return word >> by | word << (32 - by); }

static void compress_plainly(uint32_t state[8], const uint8_t *block, int64_t blocks) {
    for (; blocks > 0; blocks--, block += 64) {
        uint32_t w[64], s[8];
        for (int i = 0; i < 16; i++)
            w[i] = (uint32_t)block[4 * i] << 24 | (uint32_t)block[4 * i + 1] << 16 | (uint32_t)block[4 * i + 2] << 8 |
                   block[4 * i + 3];
        for (int i = 16; i < 64; i++) {
            uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
            uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
            w[i] = w[i - 16] + low + w[i - 7] + high;
        }
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t sum = rotate(s[4], 6) ^ rotate(s[4], 11) ^ rotate(s[4], 25);
            uint32_t first = s[7] + sum + ((s[4] & s[5]) ^ (~s[4] & s[6])) + ROUND[i] + w[i];
            sum = rotate(s[0], 2) ^ rotate(s[0], 13) ^ rotate(s[0], 22);
            uint32_t second = sum + ((s[0] & s[1]) ^ (s[0] & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += first;
            s[0] = first + second;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

#if defined(__x86_64__)
#define SHA __attribute__((target("sha,sse4.1")))

typedef struct {
    __m128i abef, cdgh;
} rows;

SHA static rows load_state(const uint32_t state[8]) {
    __m128i swapped = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)state), 0xb1);
    __m128i last = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(state + 4)), 0x1b);
    return (rows){_mm_alignr_epi8(swapped, last, 8), _mm_blend_epi16(last, swapped, 0xf0)};
}

SHA static void store_state(rows from, uint32_t state[8]) {
    __m128i swapped = _mm_shuffle_epi32(from.abef, 0x1b), last = _mm_shuffle_epi32(from.cdgh, 0xb1);
    _mm_storeu_si128((__m128i *)state, _mm_blend_epi16(swapped, last, 0xf0));
    _mm_storeu_si128((__m128i *)(state + 4), _mm_alignr_epi8(last, swapped, 8));
}

/* The four words of step i: read from the block, or mixed from the sixteen before. */
SHA static inline __m128i next_words(__m128i w[4], const uint8_t *block, int i) {
    const __m128i big_endian = _mm_set_epi64x(0x0c0d0e0f08090a0bLL, 0x0405060700010203LL);
    if (i < 4) return w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(block + 16 * i)), big_endian);
    __m128i last = w[(i + 3) & 3], mixed = _mm_sha256msg1_epu32(w[i & 3], w[(i + 1) & 3]);
    mixed = _mm_add_epi32(mixed, _mm_alignr_epi8(last, w[(i + 2) & 3], 4));
    return w[i & 3] = _mm_sha256msg2_epu32(mixed, last);
}

SHA static inline void four_rounds(rows *at, __m128i words, int i) {
    words = _mm_add_epi32(words, _mm_loadu_si128((const __m128i *)(ROUND + 4 * i)));
    at->cdgh = _mm_sha256rnds2_epu32(at->cdgh, at->abef, words);
    at->abef = _mm_sha256rnds2_epu32(at->abef, at->cdgh, _mm_shuffle_epi32(words, 0x0e));
}

SHA static void compress_by_instruction(uint32_t state[8], const uint8_t *block, int64_t blocks) {
    rows at = load_state(state);
    for (; blocks > 0; blocks--, block += 64) {
        rows before = at;
        __m128i w[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) four_rounds(&at, next_words(w, block, i), i);
        at = (rows){_mm_add_epi32(at.abef, before.abef), _mm_add_epi32(at.cdgh, before.cdgh)};
    }
    store_state(at, state);
}

/* Two messages beside one another: each round waits for the one before it, and the other message fills the wait. */
SHA static void compress_two_by_instruction(uint32_t one[8], const uint8_t *first, uint32_t two[8],
                                            const uint8_t *second, int64_t blocks) {
    rows a = load_state(one), b = load_state(two);
    for (; blocks > 0; blocks--, first += 64, second += 64) {
        rows a_before = a, b_before = b;
        __m128i v[4], w[4];
#pragma GCC unroll 16
        for (int i = 0; i < 16; i++) {
            four_rounds(&a, next_words(v, first, i), i);
            four_rounds(&b, next_words(w, second, i), i);
        }
        a = (rows){_mm_add_epi32(a.abef, a_before.abef), _mm_add_epi32(a.cdgh, a_before.cdgh)};
        b = (rows){_mm_add_epi32(b.abef, b_before.abef), _mm_add_epi32(b.cdgh, b_before.cdgh)};
    }
    store_state(a, one);
    store_state(b, two);
}
#endif

typedef void (*compressor)(uint32_t *, const uint8_t *, int64_t);

static void compress_two(compressor compress, uint32_t one[8], const uint8_t *first, uint32_t two[8],
                         const uint8_t *second, int64_t blocks) {
#if defined(__x86_64__)
    if (compress == compress_by_instruction) {
        compress_two_by_instruction(one, first, two, second, blocks);
        return;
    }
#endif
    compress(one, first, blocks);
    compress(two, second, blocks);
}

/* Tell whether the processor has no SHA instructions. To ask takes as long as some hundred hashes on a virtual machine,
 * which must be left for it; so it is asked once, and each function that hashes is told. */
int hashes_plainly(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d;
    if (__get_cpuid_count(7, 0, &a, &b, &c, &d) && b >> 29 & 1 && __get_cpuid(1, &a, &b, &c, &d) && c >> 19 & 1)
        return 0;
#endif
    return 1;
}

static compressor find_compressor(int plainly) {
#if defined(__x86_64__)
    if (!plainly)
        return compress_by_instruction;
#endif
    (void)plainly;
    return compress_plainly;
}

typedef struct {
    compressor compress;
    uint32_t state[8];
    uint8_t rest[64];
    int64_t length, waiting;
} hasher;

static void hash_begin(hasher *h, compressor compress) {
    h->compress = compress;
    memcpy(h->state, FIRST, sizeof h->state);
    h->length = h->waiting = 0;
}

static void hash_add(hasher *h, const uint8_t *bytes, int64_t count) {
    h->length += count;
    if (h->waiting) {
        int64_t part = 64 - h->waiting < count ? 64 - h->waiting : count;
        memcpy(h->rest + h->waiting, bytes, part);
        h->waiting += part, bytes += part, count -= part;
        if (h->waiting < 64) return;
        h->compress(h->state, h->rest, 1);
    }
    h->compress(h->state, bytes, count / 64);
    h->waiting = count % 64;
    memcpy(h->rest, bytes + count - h->waiting, h->waiting);
}

static void write_state(const uint32_t state[8], uint8_t out[32]) {
    for (int i = 0; i < 8; i++, out += 4)
        out[0] = (uint8_t)(state[i] >> 24), out[1] = (uint8_t)(state[i] >> 16), out[2] = (uint8_t)(state[i] >> 8),
        out[3] = (uint8_t)state[i];
}

static void hash_end(hasher *h, uint8_t out[32]) {
    uint64_t bits = (uint64_t)h->length * 8;
    uint8_t tail[128] = {0};
    memcpy(tail, h->rest, h->waiting);
    tail[h->waiting] = 0x80;
    int64_t size = h->waiting < 56 ? 64 : 128;
    for (int i = 0; i < 8; i++) tail[size - 1 - i] = (uint8_t)(bits >> 8 * i);
    h->compress(h->state, tail, size / 64);
    write_state(h->state, out);
}

enum { BYTES, NUMBERS, DIGESTS };

/* What stands at its place in every row: BYTES base[starts[step i] .. ends[step i]), NUMBERS the decimal of
 * starts[step i] >= 0, DIGESTS the hex of the 32 bytes at base + 32 i. A step of 0 says the same in every row. */
typedef struct {
    int64_t kind;
    const uint8_t *base;
    const int64_t *starts, *ends;
    int64_t step;
} part;

/* Of rows so far ahead the processor is told, since their bytes lie scattered. */
enum { MESSAGE_MAX = 4096, PADDING_MAX = 72, AHEAD = 8, CACHE_LINE = 64 };

static void foretell(const part *parts, int64_t count, int64_t row) {
    for (const part *one = parts; one < parts + count; one++) {
        if (!one->step) continue;
        const uint8_t *at = one->base + one->starts[one->step * row], *end = one->base + one->ends[one->step * row];
        for (; at < end; at += CACHE_LINE) __builtin_prefetch(at);
    }
}

/* Put a row's parts together with their padding; returns the blocks, or NOWHERE where it is longer than MESSAGE_MAX. */
static int64_t assemble(const part *parts, int64_t count, int64_t row, uint8_t *message) {
    int64_t length = 0;
    for (const part *one = parts; one < parts + count; one++) {
        int64_t start = one->starts[one->step * row], size = one->ends[one->step * row] - start;
        if (length + size > MESSAGE_MAX - PADDING_MAX) return NOWHERE;
        copy(message + length, one->base + start, size);
        length += size;
    }
    int64_t end = (length + 9 + 63) / 64 * 64;
    memset(message + length, 0, PADDING_MAX);
    message[length] = 0x80;
    /* So short a message has less than 2^16 bits. */
    message[end - 2] = (uint8_t)(length >> 5), message[end - 1] = (uint8_t)(length << 3);
    return end / 64;
}

static void digest_long(compressor compress, const part *parts, int64_t count, int64_t row, uint8_t *out) {
    hasher h;
    hash_begin(&h, compress);
    for (const part *one = parts; one < parts + count; one++) {
        int64_t start = one->starts[one->step * row];
        hash_add(&h, one->base + start, one->ends[one->step * row] - start);
    }
    hash_end(&h, out);
}

/* Hash each row's parts, which are BYTES, joined; two rows at a time. */
void digest_parts(const part *parts, int64_t count, int64_t row_count, int plainly, uint8_t *out) {
    compressor compress = find_compressor(plainly);
    uint8_t messages[2][MESSAGE_MAX];
    int64_t waiting = NOWHERE, waiting_blocks = 0;
    uint32_t states[2][8];
    for (int64_t i = 0; i < row_count; i++) {
        if (i + AHEAD < row_count) foretell(parts, count, i + AHEAD);
        int64_t blocks = assemble(parts, count, i, messages[waiting != NOWHERE]);
        if (blocks == NOWHERE) {
            digest_long(compress, parts, count, i, out + 32 * i);
        } else if (waiting == NOWHERE) {
            waiting = i, waiting_blocks = blocks;
        } else {
            int64_t both = blocks < waiting_blocks ? blocks : waiting_blocks;
            memcpy(states[0], FIRST, sizeof FIRST);
            memcpy(states[1], FIRST, sizeof FIRST);
            compress_two(compress, states[0], messages[0], states[1], messages[1], both);
            compress(states[0], messages[0] + 64 * both, waiting_blocks - both);
            compress(states[1], messages[1] + 64 * both, blocks - both);
            write_state(states[0], out + 32 * waiting);
            write_state(states[1], out + 32 * i);
            waiting = NOWHERE;
        }
    }
    if (waiting != NOWHERE) {
        memcpy(states[0], FIRST, sizeof FIRST);
        compress(states[0], messages[0], waiting_blocks);
        write_state(states[0], out + 32 * waiting);
    }
}

/* The message of an inner node with its padding: 1, the two below it. */
static void assemble_node(const uint8_t *left, const uint8_t *right, uint8_t message[128]) {
    memset(message, 0, 128);
    message[0] = 1;
    memcpy(message + 1, left, 32);
    memcpy(message + 33, right, 32);
    message[65] = 0x80;
    message[126] = 65 * 8 >> 8, message[127] = 65 * 8 & 0xff;
}

/* Extend a Merkle tree's frontier (one node per set bit of `size`, largest first, room for 64) by leaves, level by level;
 * at each, two nodes are hashed at a time. What `nodes` holds, the leaves, is written over. */
void extend_frontier(uint8_t *frontier, uint64_t size, uint8_t *nodes, int64_t count, int plainly) {
    compressor compress = find_compressor(plainly);
    uint8_t left_over[64][32], messages[2][128];
    uint64_t odd = 0;
    int depth = 0, level = 0;
    for (uint64_t bits = size; bits; bits &= bits - 1) depth++;
    for (; count; level++) {
        /* The frontier's node of this level, where there is one, stands before the others. */
        const uint8_t *first = size >> level & 1 ? frontier + 32 * --depth : NULL;
        int64_t all = count + (first != NULL), pairs = all / 2;
#define NODE(i) (first == NULL ? nodes + 32 * (i) : (i) == 0 ? first : nodes + 32 * ((i) - 1))
        if (all & 1) {
            memcpy(left_over[level], NODE(all - 1), 32);
            odd |= (uint64_t)1 << level;
        }
        for (int64_t i = 0; i < pairs; i += 2) {
            uint32_t states[2][8];
            int both = i + 1 < pairs;
            memcpy(states[0], FIRST, sizeof FIRST);
            memcpy(states[1], FIRST, sizeof FIRST);
            assemble_node(NODE(2 * i), NODE(2 * i + 1), messages[0]);
            if (both) {
                assemble_node(NODE(2 * i + 2), NODE(2 * i + 3), messages[1]);
                compress_two(compress, states[0], messages[0], states[1], messages[1], 2);
                write_state(states[1], nodes + 32 * (i + 1));
            } else {
                compress(states[0], messages[0], 2);
            }
            write_state(states[0], nodes + 32 * i);
        }
#undef NODE
        count = pairs;
    }
    while (level--)
        if (odd >> level & 1) memcpy(frontier + 32 * depth++, left_over[level], 32);
}

/* --- check -------------------------------------------------------------------------------------------------------- */

#if defined(__x86_64__)
#define FOLD __attribute__((target("pclmul,sse4.1")))

FOLD static inline __m128i fold(__m128i rest, __m128i by, __m128i more) {
    __m128i low = _mm_clmulepi64_si128(rest, by, 0x00), high = _mm_clmulepi64_si128(rest, by, 0x11);
    return _mm_xor_si128(_mm_xor_si128(low, high), more);
}

/* Go on with a CRC-32 (that of zlib) by `size` bytes, a multiple of 16 and 64 at least. The data is folded to 16 bytes
 * by products without carry, those to 8 and to 4, and the remainder is found by Barrett's reduction; the constants are
 * powers of x modulo the polynomial. To be called where `hashes_plainly` says 0: such processors have both. */
FOLD uint32_t extend_crc32(uint32_t crc, const uint8_t *data, int64_t size) {
    const __m128i by_four = _mm_set_epi64x(0x1c6e41596, 0x154442bd4), by_one = _mm_set_epi64x(0x0ccaa009e, 0x1751997d0);
    const __m128i by_last = _mm_set_epi64x(0, 0x163cd6124), barrett = _mm_set_epi64x(0x1f7011641, 0x1db710641);
    const __m128i low = _mm_set_epi32(0, 0, 0, -1), *from = (const __m128i *)data;
    __m128i rest[4];
    for (int i = 0; i < 4; i++) rest[i] = _mm_loadu_si128(from++);
    rest[0] = _mm_xor_si128(rest[0], _mm_cvtsi32_si128((int)~crc));
    for (size -= 64; size >= 64; size -= 64)
        for (int i = 0; i < 4; i++) rest[i] = fold(rest[i], by_four, _mm_loadu_si128(from++));
    __m128i all = rest[0];
    for (int i = 1; i < 4; i++) all = fold(all, by_one, rest[i]);
    for (; size >= 16; size -= 16) all = fold(all, by_one, _mm_loadu_si128(from++));
    all = _mm_xor_si128(_mm_srli_si128(all, 8), _mm_clmulepi64_si128(all, by_one, 0x10));
    all = _mm_xor_si128(_mm_srli_si128(all, 4), _mm_clmulepi64_si128(_mm_and_si128(all, low), by_last, 0x00));
    __m128i quotient = _mm_clmulepi64_si128(_mm_and_si128(all, low), barrett, 0x10);
    __m128i product = _mm_clmulepi64_si128(_mm_and_si128(quotient, low), barrett, 0x00);
    return ~(uint32_t)_mm_extract_epi32(_mm_xor_si128(all, product), 1);
}
#endif

/* --- match -------------------------------------------------------------------------------------------------------- */

enum { LITERAL, TEXT, AMOUNT, INTEGER, INSTANT, BOOLEAN, CHOICE, OPTIONAL, LIST, SAME, BEGIN, END };
enum { CELL = 3 };

/* LITERAL a: place in `pool`, b: length         TEXT a: cell, b: place of its classes' limits, c: classes (first, others)
 * AMOUNT, INSTANT, BOOLEAN a: cell              INTEGER a: cell, b: place of least and most in `numbers`
 * CHOICE a: cell, b: first literal in `choices`, c: how many
 * OPTIONAL a: cell, b: how many ops belong to it, of which the first is a LITERAL
 * LIST a: its number, b: how many ops an item has, c: place of least and most in `numbers`
 * SAME a: cell that says the same               BEGIN, END a: cell whose start or end is here                          */
typedef struct {
    int32_t code, a, b, c;
} op;

typedef struct {
    const uint8_t *pool;         /* literals */
    const int64_t *numbers;      /* limits */
    const int64_t *choices;      /* place and length in `pool`, by pairs */
    const uint16_t *classes;     /* of each byte, as bits */
    const op *ops;               /* of all shapes */
    const int64_t *shapes;       /* by shape: first op, how many, place and length of the type's name in `pool` */
    int64_t shape_count;
} shapes;

typedef struct {
    const shapes *of;
    const uint8_t *data;
    int64_t *items;           /* columns of `item_max`: line, list, cells */
    int64_t item_count, item_max, line;
    int full;
} matcher;

/* The cells of a line or of an item. They stand in columns, since who reads a member reads that of every line: one number
 * is `step` numbers behind the one before it. */
typedef struct {
    int64_t *first, step;
} row;

enum { START, STOP, VALUE };

static inline int64_t *cell_of(row cells, int32_t cell, int part) {
    return cells.first + (CELL * cell + part) * cells.step;
}

static int64_t match_digits(const uint8_t *data, int64_t at, int64_t end, int64_t *value, int64_t most) {
    int64_t from = at, total = 0;
    int over = 0;
    for (; at < end && data[at] >= '0' && data[at] <= '9'; at++) {
        int digit = data[at] - '0';
        if (total > (INT64_MAX - digit) / 10) over = 1;
        if (!over) total = total * 10 + digit;
    }
    if (at == from || at - from > most || (data[from] == '0' && at - from > 1)) return NOWHERE;
    *value = over ? -1 : total;
    return at;
}

static int64_t two_digits(const uint8_t *text) {
    if (text[0] < '0' || text[0] > '9' || text[1] < '0' || text[1] > '9') return 100;
    return (text[0] - '0') * 10 + text[1] - '0';
}

/* "2026-10-01T00:00:00.000000Z": microseconds since 1970, or NOWHERE as the end. */
static int64_t match_instant(const uint8_t *data, int64_t at, int64_t end, int64_t *value) {
    static const uint8_t lengths[12] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    const uint8_t *t = data + at;
    if (end - at < 27 || t[4] != '-' || t[7] != '-' || t[10] != 'T' || t[13] != ':' || t[16] != ':' || t[19] != '.' ||
        t[26] != 'Z')
        return NOWHERE;
    int64_t pairs[10];
    static const int places[10] = {0, 2, 5, 8, 11, 14, 17, 20, 22, 24};
    for (int i = 0; i < 10; i++)
        if ((pairs[i] = two_digits(t + places[i])) > 99) return NOWHERE;
    int64_t year = pairs[0] * 100 + pairs[1], month = pairs[2], day = pairs[3];
    int leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if (year < 1 || month < 1 || month > 12 || day < 1 || day > lengths[month - 1] + (leap && month == 2)) return NOWHERE;
    if (pairs[4] > 23 || pairs[5] > 59 || pairs[6] > 59) return NOWHERE;
    /* Days since 1970 by counting years from March. */
    int64_t y = year - (month <= 2), m = (month + 9) % 12;
    int64_t days = y * 365 + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + day - 1 - 719468;
    int64_t seconds = ((days * 24 + pairs[4]) * 60 + pairs[5]) * 60 + pairs[6];
    *value = seconds * 1000000 + pairs[7] * 10000 + pairs[8] * 100 + pairs[9];
    return at + 27;
}

static int64_t match_ops(matcher *m, const op *ops, int64_t count, int64_t at, int64_t end, row cells);

static int64_t match_list(matcher *m, const op *o, int64_t at, int64_t end) {
    const int64_t *limits = m->of->numbers + o->c;
    int64_t found = 0;
    if (at >= end || m->data[at++] != '[') return NOWHERE;
    while (at < end && m->data[at] != ']') {
        if (found++ && m->data[at++] != ',') return NOWHERE;
        if (m->item_count == m->item_max) {
            m->full = 1;
            return NOWHERE;
        }
        int64_t *item = m->items + m->item_count++, step = m->item_max;
        item[0] = m->line, item[step] = o->a;
        if ((at = match_ops(m, o + 1, o->b, at, end, (row){item + 2 * step, step})) == NOWHERE) return NOWHERE;
    }
    if (at >= end || found < limits[0] || found > limits[1]) return NOWHERE;
    return at + 1;
}

static int64_t match_text(const shapes *of, const op *o, const uint8_t *data, int64_t at, int64_t end) {
    const int64_t *limits = of->numbers + o->b;
    const uint16_t *classes = of->classes;
    int64_t from = at;
    if (at < end && classes[data[at]] & (o->c & 0xff)) {
        at++;
        for (const uint8_t *t = data + at; end - at >= 8; at += 8, t += 8)
            if (!(classes[t[0]] & classes[t[1]] & classes[t[2]] & classes[t[3]] & classes[t[4]] & classes[t[5]] &
                  classes[t[6]] & classes[t[7]] & o->c >> 8))
                break;
        while (at < end && classes[data[at]] & o->c >> 8) at++;
    }
    return at - from < limits[0] || at - from > limits[1] ? NOWHERE : at;
}

static int64_t match_choice(const shapes *of, const op *o, const uint8_t *data, int64_t at, int64_t end, int64_t *value) {
    for (int64_t i = 0; i < o->c; i++) {
        const int64_t *choice = of->choices + 2 * (o->b + i);
        if (end - at > choice[1] && data[at + choice[1]] == '"' && !memcmp(data + at, of->pool + choice[0], choice[1])) {
            *value = i;
            return at + choice[1];
        }
    }
    return NOWHERE;
}

/* Compare few bytes, eight at a time: what is called for as many takes longer. */
static inline int are_same(const uint8_t *one, const uint8_t *other, int64_t size) {
    uint64_t a, b;
    int64_t i = 0;
    for (; size - i >= 8; i += 8) {
        memcpy(&a, one + i, 8);
        memcpy(&b, other + i, 8);
        if (a != b) return 0;
    }
    if (size >= 8) {
        memcpy(&a, one + size - 8, 8);
        memcpy(&b, other + size - 8, 8);
        return a == b;
    }
    for (; i < size; i++)
        if (one[i] != other[i]) return 0;
    return 1;
}

static int starts_with(const shapes *of, const op *o, const uint8_t *data, int64_t at, int64_t end) {
    return end - at >= o->b && are_same(data + at, of->pool + o->a, o->b);
}

static int64_t match_boolean(const uint8_t *data, int64_t at, int64_t end, int64_t *value) {
    if (end - at >= 4 && !memcmp(data + at, "true", 4)) return *value = 1, at + 4;
    if (end - at >= 5 && !memcmp(data + at, "false", 5)) return *value = 0, at + 5;
    return NOWHERE;
}

/* What is absent says nothing: its cells are zero. */
static void clear_cells(const op *ops, int64_t count, row cells) {
    for (const op *o = ops; o < ops + count; o++) {
        if (o->code == LIST)
            o += o->b;
        else if (o->code != LITERAL)
            for (int part = START; part <= VALUE; part++) *cell_of(cells, o->a, part) = 0;
    }
}

/* Match ops from a place on; return the place behind, or NOWHERE. A cell is (start, end, value). */
static int64_t match_ops(matcher *m, const op *ops, int64_t count, int64_t at, int64_t end, row cells) {
    const shapes *of = m->of;
    const uint8_t *data = m->data;
    for (int64_t i = 0; i < count; i++) {
        const op *o = ops + i;
        int64_t from = at, *value = cell_of(cells, o->a, VALUE);
        switch (o->code) {
        case LITERAL:
            at = starts_with(of, o, data, at, end) ? at + o->b : NOWHERE;
            break;
        case TEXT:
            at = match_text(of, o, data, at, end);
            break;
        case AMOUNT:
            at = match_digits(data, at, end, value, 39);
            break;
        case INTEGER:
            at = match_digits(data, at, end, value, 18);
            if (at != NOWHERE && (*value < of->numbers[o->b] || *value > of->numbers[o->b + 1])) at = NOWHERE;
            break;
        case INSTANT:
            at = match_instant(data, at, end, value);
            break;
        case BOOLEAN:
            at = match_boolean(data, at, end, value);
            break;
        case CHOICE:
            at = match_choice(of, o, data, at, end, value);
            break;
        case OPTIONAL:
            *value = starts_with(of, o + 1, data, at, end);
            if (!*value) {
                clear_cells(o + 1, o->b, cells);
                i += o->b;
            }
            continue;
        case LIST:
            at = match_list(m, o, at, end);
            i += o->b;
            if (at == NOWHERE) return NOWHERE;
            continue;
        case SAME: {
            int64_t start = *cell_of(cells, o->a, START), size = *cell_of(cells, o->a, STOP) - start;
            if (end - at < size || !are_same(data + at, data + start, size)) return NOWHERE;
            at += size;
            continue;
        }
        case BEGIN:
            *cell_of(cells, o->a, START) = at;
            continue;
        case END:
            *cell_of(cells, o->a, STOP) = at;
            continue;
        default:
            return NOWHERE;
        }
        if (at == NOWHERE) return NOWHERE;
        if (o->code != LITERAL) *cell_of(cells, o->a, START) = from, *cell_of(cells, o->a, STOP) = at;
    }
    return at;
}

/* A canonical line ends with its type: "type":"NAME"} */
static int64_t find_shape(const shapes *of, const uint8_t *data, int64_t start, int64_t end, int64_t guess) {
    if (end - start < 4 || data[end - 1] != '}' || data[end - 2] != '"') return NOWHERE;
    int64_t name = end - 2;
    while (name > start && data[name - 1] != '"') name--;
    for (int64_t i = 0; i < of->shape_count; i++) {
        int64_t number = (guess + i) % of->shape_count;
        const int64_t *shape = of->shapes + 4 * number;
        if (shape[3] == end - 2 - name && !memcmp(data + name, of->pool + shape[2], shape[3])) return number;
    }
    return NOWHERE;
}

/* Match lines; `found` gets the shape of each, or NOWHERE. Lines of one shape stand together, in order: those of shape s
 * are rows firsts[s] and behind, counts[s] in all; `rows` gets their lines, and `cells` their cells, in columns of `step`.
 * Returns the number of items, or NOWHERE if there was no room for them. */
int64_t match_lines(const shapes *of, const uint8_t *data, const int64_t *starts, const int64_t *ends, int64_t count,
                    int64_t *found, int64_t *firsts, int64_t *counts, int64_t *rows, int64_t *cells, int64_t step,
                    int64_t *items, int64_t item_max) {
    matcher m = {of, data, items, 0, item_max, 0, 0};
    int64_t guess = 0, first = 0;
    memset(counts, 0, of->shape_count * sizeof *counts);
    for (int64_t i = 0; i < count; i++) {
        found[i] = find_shape(of, data, starts[i], ends[i], guess);
        if (found[i] != NOWHERE) counts[guess = found[i]]++;
    }
    for (int64_t s = 0; s < of->shape_count; s++) {
        firsts[s] = first;
        first += counts[s];
        counts[s] = 0;
    }
    for (int64_t i = 0; i < count; i++) {
        if (found[i] == NOWHERE) continue;
        const int64_t *shape = of->shapes + 4 * found[i], before = m.item_count;
        int64_t place = firsts[found[i]] + counts[found[i]];
        m.line = i;
        int64_t at = match_ops(&m, of->ops + shape[0], shape[1], starts[i], ends[i], (row){cells + place, step});
        if (m.full) return NOWHERE;
        if (at == ends[i]) {
            rows[place] = i;
            counts[found[i]]++;
        } else {
            found[i] = NOWHERE;
            m.item_count = before;
        }
    }
    return m.item_count;
}

int64_t count_lines(const uint8_t *data, int64_t size) {
    int64_t count = 0;
    const uint8_t *end = data + size;
    while (data < end && (data = memchr(data, '\n', (size_t)(end - data)))) count++, data++;
    return count;
}

/* Tell where lines start and end, without their LF; returns how many there are, or NOWHERE where there is no room. */
int64_t split_lines(const uint8_t *data, int64_t size, int64_t *starts, int64_t *ends, int64_t room) {
    int64_t count = 0;
    for (int64_t at = 0; at < size; at = ends[count++] + 1) {
        const uint8_t *end = memchr(data + at, '\n', (size_t)(size - at));
        if (!end) break;
        if (count == room) return NOWHERE;
        starts[count] = at;
        ends[count] = end - data;
    }
    return count;
}

/* --- render ------------------------------------------------------------------------------------------------------- */

/* Write a number's digits before a place; returns how many there are. */
static int write_digits(uint64_t value, uint8_t *end) {
    uint8_t *at = end;
    /* Eight at a time, in 32 bits. */
    for (; value >= 100000000; value /= 100000000) {
        uint32_t part = (uint32_t)(value % 100000000), halves[2] = {part % 10000, part / 10000};
        for (int i = 0; i < 2; i++) {
            *--at = (uint8_t)('0' + halves[i] % 10);
            *--at = (uint8_t)('0' + halves[i] / 10 % 10);
            *--at = (uint8_t)('0' + halves[i] / 100 % 10);
            *--at = (uint8_t)('0' + halves[i] / 1000);
        }
    }
    uint32_t rest = (uint32_t)value;
    do *--at = (uint8_t)('0' + rest % 10);
    while (rest /= 10);
    return (int)(end - at);
}

/* Write 32 bytes as 64 digits, by arithmetic that compilers do for many at once. */
static void write_hex(const uint8_t *bytes, uint8_t *out) {
    uint8_t digits[64];
    for (int i = 0; i < 32; i++) {
        uint8_t high = bytes[i] >> 4, low = bytes[i] & 15;
        digits[2 * i] = (uint8_t)(high + (high < 10 ? '0' : 'a' - 10));
        digits[2 * i + 1] = (uint8_t)(low + (low < 10 ? '0' : 'a' - 10));
    }
    memcpy(out, digits, 64);
}

/* Write each row's parts, joined, and LF. `line_ends` gets the place behind each LF. Returns the bytes written, or NOWHERE. */
int64_t render_lines(const part *parts, int64_t count, int64_t rows, uint8_t *out, int64_t room, int64_t *line_ends) {
    int64_t at = 0;
    for (int64_t i = 0; i < rows; i++) {
        for (const part *one = parts; one < parts + count; one++) {
            if (one->kind == BYTES) {
                int64_t start = one->starts[one->step * i], length = one->ends[one->step * i] - start;
                if (at + length > room) return NOWHERE;
                copy(out + at, one->base + start, length);
                at += length;
            } else if (one->kind == NUMBERS) {
                uint8_t digits[20];
                int size = write_digits((uint64_t)one->starts[one->step * i], digits + 20);
                if (at + size > room) return NOWHERE;
                copy(out + at, digits + 20 - size, size);
                at += size;
            } else {
                if (at + 64 > room) return NOWHERE;
                write_hex(one->base + 32 * i, out + at);
                at += 64;
            }
        }
        if (at + 1 > room) return NOWHERE;
        out[at++] = '\n';
        line_ends[i] = at;
    }
    return at;
}

/* Write each row's text data[starts[i * step] .. ends[i * step]) and LF. */
void join_texts(const uint8_t *data, const int64_t *starts, const int64_t *ends, int64_t step, int64_t rows, uint8_t *out) {
    for (int64_t i = 0; i < rows; i++, starts += step, ends += step) {
        if (i + AHEAD < rows) __builtin_prefetch(data + starts[AHEAD * step]);
        copy(out, data + *starts, *ends - *starts);
        out += *ends - *starts;
        *out++ = '\n';
    }
}

static uint64_t mix(const uint8_t *text, int64_t size) {
    uint64_t word, mixed = (uint64_t)size;
    for (; size >= 8; size -= 8, text += 8) {
        memcpy(&word, text, 8);
        mixed = (mixed ^ word) * 0x9e3779b97f4a7c15;
        mixed ^= mixed >> 29;
    }
    word = 0;
    memcpy(&word, text, size);
    mixed = (mixed ^ word) * 0x9e3779b97f4a7c15;
    return mixed ^ mixed >> 32;
}

/* Number the texts data[starts[i * step] .. ends[i * step]), equal ones alike, in the order in which they first appear:
 * numbers[i] is that of text i, firsts[n] the row in which number n stands first. `table` has `size` places, a power of
 * two above `rows`, all NOWHERE; there a number stands behind bits of its text's hash, which tell most other texts apart.
 * Returns how many numbers there are. */
int64_t number_texts(const uint8_t *data, const int64_t *starts, const int64_t *ends, int64_t step, int64_t rows,
                     int64_t size, int64_t *table, int64_t *firsts, int64_t *numbers) {
    int64_t count = 0;
    for (int64_t i = 0; i < rows; i++) {
        if (i + AHEAD < rows) __builtin_prefetch(data + starts[(i + AHEAD) * step]);
        int64_t start = starts[i * step], length = ends[i * step] - start;
        uint64_t at = mix(data + start, length);
        const int64_t mark = (int64_t)(at & 0x7fffffff00000000);
        for (;; at++) {
            int64_t *place = table + (at & (uint64_t)(size - 1));
            if (*place == NOWHERE) {
                firsts[count] = i;
                *place = mark | count++;
            }
            if ((*place ^ mark) >> 32) continue;
            int64_t number = *place & UINT32_MAX, first = step * firsts[number];
            if (ends[first] - starts[first] == length && are_same(data + starts[first], data + start, length)) {
                numbers[i] = number;
                break;
            }
        }
    }
    return count;
}
