# Warm-up and samples: blocks of steps with the device synchronised on both sides of the clock, nowhere inside.

clock() = time_ns() / 1e9

"Step until both the least number of steps and the least time are spent; {steps, seconds}."
function warm_up(step, synchronize, sampling)
    synchronize()
    start, steps = clock(), 0
    while true
        step()
        synchronize()
        steps += 1
        seconds = clock() - start
        if steps >= sampling["warm_up_steps"] && seconds >= sampling["warm_up_seconds"]
            return Dict("steps" => steps, "seconds" => seconds)
        end
    end
end

"How many steps make a block: the given number, or more where that would be too short to time well."
steps_in_block(step_seconds, sampling) =
    max(sampling["block_steps"], ceil(Int, sampling["block_seconds"] / max(step_seconds, 1e-9)))

"One sample: {steps, seconds}."
function timed_block(step, synchronize, steps)
    synchronize()
    start = clock()
    for _ in 1:steps
        step()
    end
    synchronize()
    return Dict("steps" => steps, "seconds" => clock() - start)
end

"The timed blocks, all of them; fewer than asked (but never under three) once `limit_seconds` are spent."
function samples(step, synchronize, sampling, step_seconds, on_sample)
    steps = steps_in_block(step_seconds, sampling)
    taken, start = Any[], clock()
    while length(taken) < sampling["blocks"]
        push!(taken, timed_block(step, synchronize, steps))
        on_sample(taken[end])
        length(taken) >= 3 && clock() - start >= sampling["limit_seconds"] && break
    end
    return taken
end
