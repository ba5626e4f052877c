//! What a run has reached: a property that holds because nothing happened proves nothing.

use std::fmt;

macro_rules! branches {
    ($($name:ident)*) => {
        /// The places of the contract that a run must have come by.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Branch { $($name),* }

        impl Branch {
            pub(crate) const ALL: &[Self] = &[$(Self::$name),*];
        }
    };
}

branches! {
    // Enqueue and capacity.
    Exists ExistsInFullStore ChunkRefused ChunkSkipped TwiceInOneChunk EnqueuedProcessing EnqueuedAlreadyDue
    EnqueueVanished Full FullOfLiveJobs MadeRoom MadeRoomByAge
    // Update, in the order of L3.
    NotFound HeldLive HeldLapsed HeldLapsedFound HeldStaysProcessing HeldWithOldVersion UpdateRepeated
    RepeatToAnotherKind RepeatedUnderSuccessor RepeatedAfterChange LockLost LockLostToSuccessor LockedByClaim Stale
    StaleCancel LockedByExplicit ProcessingUnderOwnExplicit Cancelled LapsedSettledUnlocked LapsedChangedUnlocked
    ClaimedByUpdate QueueChanged CrashesReset RetriesReset UpdateVanished
    // Delete, release, renewal.
    DeletedUnderClaim DeletedUnderExplicit Released ReleasedWithoutDelay ReleasedLater ReleasedLapsed ReleaseRepeated
    ReleaseLost PlaceKept Extended ExtendedLapsed ExtendedFound ExtendLost
    // Explicit locks.
    LockTaken LockRefusedByClaim LockAfterLapse LockWithoutJob LockParksReady LockParksDoomed Unlocked UnlockFrees
    UnlockDooms UnlockTooLate UnlockedClaim
    // Claims.
    Found FoundUnderExplicit ParkedLater TakenOver TakenOverBySameWorker DoomedUnderExplicit CrashFailed
    CrashFailedInAnotherQueue CrashFailedIsKept TieBySequence TieAcrossQueues ClaimLimited MayClaim MayNotClaim
    // Retention.
    Purged PurgeSparesYoung PurgeLimited Expired ErasedUnderExplicit
    // Waves of more than a claim takes over.
    LeftInWaveDue LeftInWaveLapsed LeftInWaveParked DoomedLeft EmptyWhileWave MayClaimInWave
}

#[derive(Clone)]
pub(crate) struct Hits([u64; Branch::ALL.len()]);

impl Default for Hits {
    fn default() -> Self {
        Self([0; Branch::ALL.len()])
    }
}

impl Hits {
    pub(crate) fn count(&mut self, branch: Branch) {
        self.0[branch as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.0.iter_mut().zip(other.0) {
            *sum += more;
        }
    }

    pub(crate) fn of(&self, branch: Branch) -> u64 {
        self.0[branch as usize]
    }
}

impl fmt::Display for Hits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Branch::ALL.iter().try_for_each(|&branch| writeln!(f, "{:>9} {branch:?}", self.of(branch)))
    }
}
