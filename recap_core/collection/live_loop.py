"""The control loop of a robot cell: one thread, one tick after the other.

A tick obeys the operator, looks at the robot, moves it and records. The loop is the only one that
touches robot, leader, policy and recorder; whoever wants something asks through
:class:`~recap_core.collection.operator_desk.OperatorDesk`. It stays live between episodes. Whenever
something is wrong the robot is PAUSED: nothing is sent, and it holds what it was sent last.
"""

import gc
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from jaxtyping import Float

from recap_core.collection.live_parts import CellParts, SessionEnd, SessionRules
from recap_core.collection.operator_desk import OperatorDesk
from recap_core.collection.pace import Pace
from recap_core.collection.tally import SessionTally
from recap_core.collection.watchdog import Watchdog
from recap_core.errors import EpisodeError, RobotError
from recap_core.rollout.episode_lifecycle import EpisodeLifecycle, EpisodeState, EpisodeStep
from recap_core.rollout.frame import Observation, Outcome
from recap_core.rollout.live import LiveFrame, LiveStatus, PolicyAnswer, Request
from recap_core.rollout.phase import Phase, PhaseEvent, PhaseMachine, Transition
from recap_core.rollout.protocols import EpisodeReset
from recap_core.rollout.safety import ActionGuard, ResumeRamp, oldest_part

STATE = "observation.state"
STATUS_HZ = 5
RECENT_S = 3
"""What the screen calls the present rate."""
SWITCH_S = 0.0005
"""Longest time that an encoder's thread keeps the interpreter while a tick is due."""
GRACE_S = 0.5
"""After a pause that nobody asked for: what is pressed then was meant for what was before."""
HALF_A_MS = 0.0005
QUIT = "the session ended"
"""Why an episode is a failure that was open then."""
NOTHING = PolicyAnswer(None)

type OnStatus = Callable[[LiveStatus], None]


class LiveLoop:
    """One session in one cell.

    Args:
        parts: The cell.
        rules: See :class:`SessionRules`.
        guard: Checks every action.
        pace: The beat; None: the robot's own rate.
        now: Unix time, s.
    """

    def __init__(
        self,
        parts: CellParts,
        rules: SessionRules,
        *,
        guard: ActionGuard | None = None,
        pace: Pace | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._parts = parts
        self._rules = rules
        fps = parts.robot.description.fps
        self._num_recent = round(RECENT_S * fps)  # a robot that is disconnected describes nothing
        self._pace = pace or Pace(fps)
        self._now = now
        self._guard = guard or ActionGuard()
        self._num_dims = parts.robot.description.num_dims
        self._ramp = ResumeRamp(round(rules.resume_ramp_s * fps))
        self._takeover_ramp = ResumeRamp(round(rules.takeover_ramp_s * fps))
        self._machine = PhaseMachine(rules.initial_phase)
        self._lifecycle = EpisodeLifecycle()
        self.desk = OperatorDesk(self._machine, self._lifecycle, why_not=self._why_not, now=now)
        self._tally = SessionTally(rules.num_episodes, rules.num_corrections)
        self._rng = np.random.default_rng(rules.seed)
        self._watchdog = Watchdog(rules.watchdog_s, self._barked)
        self._last_action: np.ndarray | None = None
        self._leader_state: np.ndarray | None = None
        self._begins_to_drive = True
        """Whether nothing was sent yet since the policy or the operator has got control."""
        self._was_stopped = False
        self._num_stops_seen = 0
        self._read_at_s = self._ticked_at_s = now()
        self._paused_itself_s = -GRACE_S
        self._began_s = 0.0
        self._num_ticks = 0
        self._ticks_per_status = max(round(fps / STATUS_HZ), 1)
        self._error: str | None = None
        self._on_status: OnStatus | None = None

    def request(self, request: Request, source: str) -> bool:
        """Ask for something; any thread may."""
        return self.desk.request(request, source)

    def run(self, on_status: OnStatus | None = None) -> SessionEnd:
        """Tick until the operator quits or the goal is reached; everything is closed in the end.

        Args:
            on_status: Told some times a second, from this thread; it must be quick.
        """
        self._on_status = on_status
        gc.collect()
        gc.freeze()  # what is here now stays: no collection during a tick looks at it
        switch_s = sys.getswitchinterval()
        sys.setswitchinterval(SWITCH_S)
        try:
            for source in self._parts.inputs:
                source.start(self.desk.request)
            with self._watchdog:
                self._publish()
                self._read_at_s = self._now()
                while self._lifecycle.state is not EpisodeState.OVER:
                    self._tick()
        finally:
            sys.setswitchinterval(switch_s)
            gc.unfreeze()
            self._close()
        reason = "error" if self._error else "goal" if self._tally.is_reached else "quit"
        return SessionEnd(
            self._parts.recorder.directory,
            tuple(self._tally.episodes),
            tuple(self._tally.trials),
            self._tally.num_discarded,
            self._tally.num_disqualified,
            reason,
            self._error,
            self._pace.stats(),
        )

    def _tick(self) -> None:
        interval_s = self._pace.wait()
        self._watchdog.tick()
        if interval_s > self._rules.watchdog_s:
            self._pause(f"the control loop stood still for {interval_s:.1f} s")
        now_s = self._ticked_at_s = self._now()
        self._obey_stop()
        if self._obey_episodes(now_s):
            return  # it took its time: the next tick begins at once
        transition = None if self.desk.is_stopped else self._machine.consume()
        if transition is not None:
            self._enter(transition)
        observation = self._observe(now_s)
        if observation is not None:
            self._step(observation, now_s)
        self._num_ticks += 1
        if transition is not None or self._num_ticks % self._ticks_per_status == 0:
            self._publish()

    # -- the operator

    def _why_not(self, event: PhaseEvent, phase: Phase) -> str | None:
        """Rules beyond the machine's edges; called by the threads of input sources."""
        if event is PhaseEvent.CORRECTION and phase is not Phase.CORRECTING:
            if self._rules.is_passive:
                if self._lifecycle.state is EpisodeState.RECORDING:
                    self._tally.disqualify()
                return "nobody corrects in an evaluation; this episode does not count"
            if self._parts.leader is None:
                return "there is no leader arm; set robot.teleoperator"
        if event is PhaseEvent.PAUSE_RESUME and phase is Phase.PAUSED:
            if self._parts.policy is None:
                return "there is no policy; name a server, or drive yourself (correction)"
            if (problem := self._parts.policy.status().problem) is not None:
                return problem
        if phase is Phase.PAUSED and self._now() - self._paused_itself_s < GRACE_S:
            return "the robot has just been paused by itself; look, then press again"
        return None

    def _obey_stop(self) -> None:
        num_stops = self.desk.num_stops
        if num_stops != self._num_stops_seen:
            self._num_stops_seen, self._was_stopped = num_stops, True
            self._pause("EMERGENCY STOP: nothing is sent until it is reset")
            self._paused_itself_s = -GRACE_S  # it was asked for
            stop = getattr(self._parts.robot, "emergency_stop", None)
            if stop is not None:
                try:
                    stop()
                except RobotError as error:
                    self.desk.say("error", str(error))
        if self._was_stopped and not self.desk.is_stopped:
            self._was_stopped = False
            self._last_action = None  # it may have been moved by hand
            self._machine.reset(Phase.PAUSED)  # a wish from before the stop is no wish any more

    def _obey_episodes(self, now_s: float) -> bool:
        """Begin or end an episode; whether there was anything to do."""
        step = self._lifecycle.consume()
        reason = self._why_it_ends(now_s) if step is None else None
        if reason is not None:
            self.desk.say("error", f"{reason}: saved as a failure")
            step = self._lifecycle.expire()
        if step is None:
            return False
        with self._watchdog.held():
            if step.kind == "start":
                self._start_episode()
            elif step.kind == "end":
                self._end_episode(step, reason)
        self._read_at_s = self._now()
        if reason is not None:
            self._paused_itself_s = self._now()
        self._pace.skip()
        self._publish()
        return True

    def _why_it_ends(self, now_s: float) -> str | None:
        """Why the open episode ends by itself now; None: it does not, or none is open."""
        if self._lifecycle.state is not EpisodeState.RECORDING:
            return None
        is_over = now_s - self._began_s > self._rules.episode_limit_s - HALF_A_MS
        if is_over and self._machine.phase is not Phase.CORRECTING:
            return "the episode's time is over"
        if self._num_ticks % self._ticks_per_status:
            return None  # the recorder looks at the disk
        problem = self._parts.recorder.status().problem
        return None if problem is None else f"recording cannot go on: {problem}"

    def _start_episode(self) -> None:
        try:
            self._parts.recorder.start()
        except EpisodeError as error:
            self._lifecycle.cancel_start()
            self.desk.say("error", str(error))
            return
        if isinstance(self._parts.robot, EpisodeReset):
            self._parts.robot.reset_episode(self._rng)
            self._last_action = None
        if self._parts.policy is not None:
            self._parts.policy.reset()
        self._tally.begin(is_correcting=self._machine.phase is Phase.CORRECTING)
        self._began_s = self._now()

    def _end_episode(self, step: EpisodeStep, reason: str | None) -> None:
        if self._rules.pause_between_episodes and self._machine.phase is not Phase.PAUSED:
            self._pause(None)
            self._publish()
        self._save(step.outcome or Outcome.FAILURE, reason or (QUIT if step.ends_session else None))
        self._begins_to_drive = True  # saving took its time
        if self._rules.pause_between_episodes:
            self._machine.reset(Phase.PAUSED)  # what was wished while it was saved
        if self._tally.is_reached:
            self._lifecycle.finish()

    def _save(self, outcome: Outcome, reason: str | None) -> None:
        recorder = self._parts.recorder
        if outcome is Outcome.DISCARD:
            recorder.discard()
            self._tally.discarded()
            self.desk.say("info", "discarded")
            return
        if self._tally.is_disqualified:
            recorder.describe_episode(disqualified="a correction was asked for")
        if reason is not None:
            recorder.describe_episode(failure_reason=reason)
        timing = self._pace.stats(num_last=self._tally.num_episode_frames)
        recorder.describe_episode(loop=timing._asdict())
        try:
            summary = recorder.finish(outcome)
        except EpisodeError as error:
            self._tally.lost()
            self.desk.say("error", str(error))
            return
        self._tally.saved(summary)
        self.desk.say("info", f"saved {Path(summary.directory).name}: {outcome.value}")

    # -- phases

    def _enter(self, transition: Transition) -> None:
        """Side effects of a transition (SPEC §2.1)."""
        leader = self._parts.leader
        self._begins_to_drive = True
        try:
            match transition.after:
                case Phase.CORRECTING:
                    if leader is not None:
                        leader.set_compliant()
                    self._tally.corrected()
                case Phase.PAUSED:
                    if (
                        transition.before is Phase.CORRECTING
                        and leader is not None
                        and self._rules.pause_stiffens_leader
                    ):
                        leader.set_stiff()
        except RobotError as error:
            self._pause(str(error))
        if transition.after is not Phase.PAUSED and self._parts.policy is not None:
            self._parts.policy.reset()

    def _pause(self, problem: str | None) -> None:
        """Go to PAUSED from any phase, whatever was asked for."""
        before = self._machine.phase
        self._machine.reset(Phase.PAUSED)
        if problem is not None:
            if before is not Phase.PAUSED:
                self._paused_itself_s = self._now()
            self.desk.say("error", f"paused: {problem}")
        leader = self._parts.leader
        if before is Phase.CORRECTING and leader is not None and self._rules.pause_stiffens_leader:
            try:
                leader.set_stiff()
            except RobotError as error:
                self.desk.say("error", str(error))

    def _barked(self, standstill_s: float) -> None:
        self.desk.say(
            "error",
            f"the control loop has stood still for {standstill_s:.1f} s: the robot or a camera "
            "does not answer. Nothing is sent meanwhile, and the robot will be paused",
        )
        self._publish()

    # -- the robot

    def _observe(self, now_s: float) -> Observation | None:
        """What the robot senses; None where that is no basis for anything."""
        try:
            observation = self._parts.robot.get_observation()
        except RobotError as error:
            self._lost(now_s, str(error))
            return None
        age_s, what = oldest_part(observation, self._now())  # reading it may have taken long
        if age_s > self._rules.max_observation_age_s:
            self._lost(now_s, f"{what} {age_s:.2f} s old; check the cables")
            return None
        self._read_at_s = now_s
        return observation

    def _lost(self, now_s: float, problem: str) -> None:
        self._last_action = None  # who knows where it is when it comes back
        if self._machine.phase is not Phase.PAUSED:
            self._pause(problem)
        elif self._num_ticks % (5 * self._ticks_per_status) == 0:
            self.desk.say("error", problem)
        if now_s - self._read_at_s > self._rules.robot_timeout_s:
            self._error = (
                f"the robot could not be read for {now_s - self._read_at_s:.1f} s: {problem}"
            )
            self.desk.say("error", self._error)
            self._lifecycle.finish()

    def _step(self, observation: Observation, now_s: float) -> None:
        pose = np.asarray(observation[STATE], np.float32)[: self._num_dims]
        phase, answer = self._machine.phase, NOTHING
        self._leader_state = None
        if phase is not Phase.PAUSED:
            answer = self._ask(observation)
        if phase is Phase.AUTONOMOUS:
            self._drive(answer, pose)
        elif phase is Phase.CORRECTING:
            self._follow_operator(pose)
        phase = self._machine.phase  # PAUSED, if something was wrong
        action = pose if self._last_action is None else self._last_action
        if self._lifecycle.state is not EpisodeState.RECORDING:
            return
        self._tally.frame(is_correcting=phase is Phase.CORRECTING)
        self._parts.recorder.record(
            LiveFrame(
                time_s=now_s,
                observation=observation,
                action=action,
                phase=phase,
                correction_index=self._tally.correction_index,
                policy_action=answer.action,
                policy_id=answer.policy_id,
                leader_state=self._leader_state,
            )
        )

    def _ask(self, observation: Observation) -> PolicyAnswer:
        if self._parts.policy is None:
            return NOTHING
        return self._parts.policy.action({**observation, "prompt": self._rules.task})

    def _drive(self, answer: PolicyAnswer, pose: Float[np.ndarray, " s"]) -> None:
        if answer.problem is not None:
            self._pause(answer.problem)
        if answer.action is None or answer.problem is not None:
            return
        if self._begins_to_drive:
            self._ramp.begin(pose)
        target = self._ramp.blend(np.asarray(answer.action, np.float32))
        if self._send(target, pose, may_be_far=False) and self._parts.leader is not None:
            assert self._last_action is not None  # noqa: S101 - it was just sent
            try:
                self._parts.leader.follow(self._last_action)
            except RobotError as error:
                self._pause(str(error))
                return
            self._leader_state = self._last_action

    def _follow_operator(self, pose: Float[np.ndarray, " s"]) -> None:
        assert self._parts.leader is not None  # noqa: S101 - else CORRECTING is refused
        try:
            target = np.asarray(self._parts.leader.get_action()["action"], np.float32)
        except RobotError as error:
            self._pause(str(error))
            return
        self._leader_state = target
        if self._begins_to_drive:
            self._takeover_ramp.begin(pose)
        self._send(self._takeover_ramp.blend(target), pose, may_be_far=True)

    def _send(
        self, target: Float[np.ndarray, " a"], pose: Float[np.ndarray, " s"], *, may_be_far: bool
    ) -> bool:
        last = self._last_action
        if last is None or self._begins_to_drive:  # it may have sagged, or been moved
            last = pose
        guarded = self._guard.check(target, last, may_be_far=may_be_far)
        if guarded.action is None:
            self._pause(guarded.problem)
            return False
        if not self._may_send():
            return False
        try:
            sent = self._parts.robot.send_action({"action": guarded.action})
        except RobotError as error:
            self._pause(str(error))
            return False
        self._last_action = np.asarray(sent["action"], np.float32)
        self._begins_to_drive = False
        return True

    def _may_send(self) -> bool:
        """Not after an emergency stop that came within this tick, nor if the tick took too long."""
        if self.desk.is_stopped or self.desk.num_stops != self._num_stops_seen:
            return False
        took_s = self._now() - self._ticked_at_s
        if took_s > self._rules.watchdog_s:
            self._pause(f"a tick took {took_s:.1f} s; nothing is sent after so long")
            return False
        return True

    # -- the end, and what is shown

    def _close(self) -> None:
        """Save what is open as a failure, and let go of everything; the robot first holds still."""
        parts = self._parts
        self._lifecycle.finish()
        try:
            if parts.recorder.status().is_recording:
                self._save(Outcome.FAILURE, self._error or QUIT)
        finally:
            for source in parts.inputs:
                source.stop()
            if parts.policy is not None:
                parts.policy.close()
            try:
                parts.recorder.close()
            finally:
                parts.robot.disconnect()
        self._publish()

    def _publish(self) -> None:
        """Tell who watches."""
        if self._on_status is None:
            return
        recent, tally, rules = self._pace.stats(num_last=self._num_recent), self._tally, self._rules
        is_recording = self._lifecycle.state is EpisodeState.RECORDING
        self._on_status(
            LiveStatus(
                task=rules.task,
                phase=self._machine.phase,
                is_recording=is_recording,
                is_stopped=self.desk.is_stopped,
                episode=tally.number,
                episode_s=self._now() - self._began_s if is_recording else 0.0,
                episode_limit_s=rules.episode_limit_s,
                num_successes=tally.num_successes,
                num_failures=tally.num_failures,
                num_discarded=tally.num_discarded,
                num_corrections=tally.num_corrections_so_far,
                correcting_share=tally.correcting_share,
                goal=tally.goal,
                goal_share=tally.goal_share,
                loop_hz=recent.mean_hz,
                jitter_p99_ms=recent.jitter_p99_ms,
                num_late_ticks=self._pace.num_late,
                recorder=self._parts.recorder.status(),
                policy=None if self._parts.policy is None else self._parts.policy.status(),
                inputs=tuple(source.status() for source in self._parts.inputs),
                messages=self.desk.messages,
                trials=tuple(tally.trials),
            )
        )
