# The frozen stream of numpy.random.RandomState: MT19937, seeded with one number as numpy seeds it.
#
# Matsumoto and Nishimura, "Mersenne Twister", ACM TOMACS 8 (1998). Every reference and every record rests on these
# numbers, so they are numpy's to the last bit; the tests compare the two.

const WORDS, SHIFTED = 624, 397

mutable struct RandomState
    words::Vector{UInt32}
    used::Int
end

function RandomState(seed::Integer)
    words = Vector{UInt32}(undef, WORDS)
    word = UInt32(seed)
    for i in 1:WORDS
        words[i] = word
        word = 0x6c078965 * (word ⊻ (word >> 30)) + UInt32(i)
    end
    return RandomState(words, WORDS)
end

"The next 624 words of the state."
function twist!(stream)
    words = stream.words
    @inbounds for i in 1:WORDS
        joined = (words[i] & 0x80000000) | (words[i%WORDS+1] & 0x7fffffff)
        words[i] = words[(i+SHIFTED-1)%WORDS+1] ⊻ (joined >> 1) ⊻ (isodd(joined) ? 0x9908b0df : 0x00000000)
    end
    stream.used = 0
end

"The next 32 bits."
function draw32!(stream)::UInt32
    stream.used == WORDS && twist!(stream)
    stream.used += 1
    y = @inbounds stream.words[stream.used]
    y ⊻= y >> 11
    y ⊻= (y << 7) & 0x9d2c5680
    y ⊻= (y << 15) & 0xefc60000
    return y ⊻ (y >> 18)
end

"A double from [0, 1) of 53 bits: 27 of one draw, 26 of the next."
function draw_double!(stream)::Float64
    high, low = draw32!(stream) >> 5, draw32!(stream) >> 6
    return (high * 67108864.0 + low) / 9007199254740992.0
end

"Fill with doubles from [low, high), each rounded to the array's own type."
function uniform!(stream, drawn::Array{T}, low::Float64, high::Float64) where {T}
    range = high - low
    @inbounds for i in eachindex(drawn)
        drawn[i] = T(low + range * draw_double!(stream))
    end
    return drawn
end

"Fill with whole numbers below `bound`: draws are masked, and those that are still too large are thrown away."
function randint!(stream, drawn::Array{T}, bound::Integer) where {T}
    largest = UInt32(bound - 1)
    mask = largest == 0 ? UInt32(0) : typemax(UInt32) >> leading_zeros(largest)
    @inbounds for i in eachindex(drawn)
        value = UInt32(0)  # where nothing else is possible, nothing is drawn
        if largest > 0
            while true
                value = draw32!(stream) & mask
                value <= largest && break
            end
        end
        drawn[i] = T(value)
    end
    return drawn
end
