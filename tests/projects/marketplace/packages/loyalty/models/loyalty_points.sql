select 7 as buyer_id, 120 as points, 'gold' as tier
